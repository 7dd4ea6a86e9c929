//! How can a text file hold a space, or half a character, as part of a token? As another character.
//!
//! The files spell tokens in *byte symbols*: each of the 256 bytes has a printable character. A printable
//! byte of Latin-1 is its own symbol; the other 68 bytes take U+0100, U+0101, and so on. A space is `Ġ`, a
//! line feed is `Ċ`.

/// The symbol of each byte.
pub(super) const SYMBOLS: [char; 256] = {
    let mut symbols = ['\0'; 256];
    let (mut byte, mut next) = (0u8, '\u{100}' as u32);
    loop {
        symbols[byte as usize] = if is_printable(byte) {
            byte as char
        } else {
            next += 1;
            char::from_u32(next - 1).expect("below the surrogates")
        };
        if byte == 255 {
            break symbols;
        }
        byte += 1;
    }
};

/// Whether a byte is a visible character of Latin-1 (the soft hyphen, 0xAD, is not).
const fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// The byte of each symbol, by code point.
const BYTES: [Option<u8>; 0x144] = {
    let mut bytes = [None; 0x144];
    let mut byte = 0u8;
    loop {
        bytes[SYMBOLS[byte as usize] as usize] = Some(byte);
        if byte == 255 {
            break bytes;
        }
        byte += 1;
    }
};

/// The byte that a symbol stands for.
pub(super) fn byte_of(symbol: char) -> Option<u8> {
    *BYTES.get(symbol as usize)?
}

/// The 256 bytes in GPT-2's order: the printable ones first.
pub(super) fn bytes_in_order() -> impl Iterator<Item = u8> {
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
