//! What is written is read; what is damaged is named.

use super::*;
use crate::format::safetensors::Slot;
use proptest::prelude::*;

fn sound() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.gguf");
    let values = [
        ("a", Entry::Number(7)),
        ("b", Entry::Float(0.5)),
        ("c", Entry::Bool(true)),
        ("d", Entry::Text("é".into())),
        ("e", Entry::Numbers(vec![-1, 2])),
        ("f", Entry::Texts(vec!["x".into(), String::new()])),
    ];
    let values = values.map(|(name, value)| (name.to_string(), value));
    let slot = |name: &str, dtype, shape: &[usize]| Slot { name: name.into(), dtype, shape: shape.to_vec() };
    let slots = [slot("m", "F32", &[2, 3]), slot("q", "Q8_0", &[2, 32]), slot("v", "BF16", &[5])];
    let mut writer = Writer::create(&path, &values, &slots).expect("a writer");
    writer.write(&[1; 24]).expect("m");
    writer.write(&[2; 68]).expect("q");
    assert!(!path.exists(), "nothing before it is whole");
    writer.write(&[3; 10]).expect("v");
    writer.finish().expect("a file");
    std::fs::read(path).expect("a file")
}

fn parse(bytes: &[u8]) -> Result<Gguf, String> {
    Gguf::parse(Path::new("x.gguf"), &Bytes::aligned_copy(bytes)).map_err(|e| e.to_string())
}

#[test]
fn what_is_written_is_read() {
    let found = parse(&sound()).expect("a sound file");
    let values = json!({"a": 7, "b": 0.5, "c": true, "d": "é", "e": [-1, 2], "f": ["x", ""]});
    assert_eq!(json!(found.values), values);
    let tensor = |name: &str| {
        let tensor = &found.tensors[name];
        (&*tensor.dtype, &tensor.shape[..], tensor.bytes.to_vec())
    };
    assert_eq!(tensor("m"), ("F32", &[2, 3][..], vec![1; 24]));
    assert_eq!(tensor("q"), ("Q8_0", &[2, 32][..], vec![2; 68]));
    assert_eq!(tensor("v"), ("BF16", &[5][..], vec![3; 10]));
}

#[test]
fn damage_is_named() {
    let sound = sound();
    for end in 0..sound.len() - 22 {
        assert!(parse(&sound[..end]).is_err(), "cut at {end}");
    }
    let mut old = sound.clone();
    old[4] = 1;
    assert!(parse(&old).expect_err("version 1").contains("GGUF version 1; versions 2 and 3 are read"));
    let mut twice = sound.clone();
    let at = |what: &[u8]| sound.windows(what.len()).position(|part| part == what).expect("it is there");
    twice[at(b"\x01\0\0\0\0\0\0\0v") + 8] = b'm';
    assert!(parse(&twice).expect_err("two tensors").contains("tensor \"m\" is there twice"));
    let mut long = sound[..at(b"\x01\0\0\0\0\0\0\0f") + 13].to_vec(); // a list of bytes in place of one of texts
    long.extend([0u32.to_le_bytes().as_slice(), &(LONGEST as u64 + 1).to_le_bytes()].concat());
    long.resize(long.len() + LONGEST + 1, 0);
    assert!(
        parse(&long).expect_err("a list").contains("\"f\": a list of 16777217 values; the limit is 16777216")
    );
    let mut many = sound.clone();
    many[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(parse(&many).expect_err("tensors").contains("announces 18446744073709551615 parts"));
}

proptest! {
    #[test]
    fn mutated_bytes_are_read_or_refused(changes in prop::collection::vec((0..sound().len(), any::<u8>()), 1..4)) {
        let mut bytes = sound();
        changes.into_iter().for_each(|(place, byte)| bytes[place] = byte);
        let _ = parse(&bytes); // no panic, no endless memory
    }
}
