//! How can a text file hold a space, or half a character, as part of a token? As another character.
//!
//! The files spell tokens in *byte symbols*: each of the 256 bytes has a printable character. A printable
//! byte of Latin-1 is its own symbol; the other 68 bytes take U+0100, U+0101, and so on. A space is `Ġ`, a
//! line feed is `Ċ`.

/// The symbol of each byte.
pub const SYMBOLS: [char; 256] = {
    let (mut symbols, mut next) = (['\0'; 256], 0x100);
    let mut byte = 0;
    while byte < 256 {
        let printable = is_printable(byte as u8);
        symbols[byte] = char::from_u32(if printable { byte as u32 } else { next }).expect("a character");
        next += !printable as u32;
        byte += 1;
    }
    symbols
};

/// Whether a byte is a visible character of Latin-1 (the soft hyphen, 0xAD, is not).
const fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// The byte of each symbol, by code point.
const BYTES: [Option<u8>; 0x144] = {
    let mut bytes = [None; 0x144];
    let mut byte = 0;
    while byte < 256 {
        bytes[SYMBOLS[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    bytes
};

/// The byte that a symbol stands for.
pub fn byte_of(symbol: char) -> Option<u8> {
    *BYTES.get(symbol as usize)?
}

/// The 256 bytes in GPT-2's order: the printable ones first.
pub fn bytes_in_order() -> impl Iterator<Item = u8> {
    (0..=255).filter(|&byte| is_printable(byte)).chain((0..=255).filter(|&byte| !is_printable(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_symbol_of_its_own() {
        for byte in 0..=255 {
            assert_eq!(byte_of(SYMBOLS[usize::from(byte)]), Some(byte));
        }
        assert_eq!(
            [b' ', b'\n', 0, 0x7f, 0xad, b'a'].map(|byte| SYMBOLS[usize::from(byte)]),
            ['Ġ', 'Ċ', 'Ā', 'ġ', 'Ń', 'a']
        );
        assert_eq!(['\u{ad}', ' ', '\u{144}', '日', char::MAX].map(byte_of), [None; 5]);
        assert!(bytes_in_order().take(3).eq(*b"!\"#") && bytes_in_order().count() == 256);
    }
}
