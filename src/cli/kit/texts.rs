//! The texts of the kit.

/// The pass that is JSON as well.
pub const SMALLEST: &str = "two-tokens";

/// The passes: name, text.
pub const PASSES: [(&str, &str); 4] = [
    (SMALLEST, "Once upon"),
    ("sentence", "The king said, \"Come with me, and I will give you a horse.\""),
    ("unicode", "naïve 犬 🐕 — ½"),
    ("repeats", " the the the the dog dog"),
];

/// Texts whose tokens are easy to get wrong.
pub const TEXTS: [&str; 24] = [
    "",
    " ",
    "  ",
    "Once upon a time",
    " Once upon a time ",
    "dog dog  dog   dog",
    "I'm, you're, he'd, they'll, we've, it's; I'M, YOU'RE",
    "'s 't 're 've 'm 'll 'd",
    "don’t",
    "1234567890 12 3.14159 1,000,000",
    "²³¼½ ١٢٣ Ⅷ",
    "line\nline\r\nline\n\n\nline\n",
    "\t\ttabs\t and \u{a0}no-break\u{2003}spaces \u{3000}",
    "naïve café Ångström",
    "e\u{301} and é",
    "犬が走る。猫は寝る。",
    "Привет, мир! Γειά σου",
    "🐕🐈 👩‍👩‍👧‍👦 🇩🇪",
    "fn main() { println!(\"{}\", 1 + 1); }",
    "https://example.org/a?b=c&d=%20#e",
    "<|endoftext|> is plain text here",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\u{0}\u{1}\u{7f}\u{85}\u{feff}\u{fffd}",
    "Supercalifragilisticexpialidocious antidisestablishmentarianism",
];
