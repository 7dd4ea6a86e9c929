//! Good files and bad ones.

use super::*;
use byteorder::WriteBytesExt;

fn file(header: &str, data: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    bytes.write_u64::<LittleEndian>(header.len() as u64).expect("memory");
    Bytes::aligned_copy(&[&bytes, header.as_bytes(), data].concat())
}

fn problem(bytes: &Bytes) -> String {
    SafeTensors::parse(Path::new("model"), bytes).expect_err("a problem").to_string()
}

#[test]
fn a_good_file() {
    let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},
        "empty":{"dtype":"F16","shape":[0,7],"data_offsets":[8,8]}}"#;
    let found = SafeTensors::parse(Path::new("m"), &file(header, &[1; 8])).expect("a good file");
    assert_eq!(found.tensors["a"].shape, [1, 2]);
    assert_eq!(&*found.tensors["a"].bytes, [1; 8]);
    assert_eq!(found.metadata["format"], "pt");
    let found =
        SafeTensors::parse(Path::new("m"), &file(r#"{"__metadata__":null}"#, &[])).expect("a good file");
    assert!(found.metadata.is_empty());
}

#[test]
fn bad_files_say_what_is_wrong() {
    for (header, part) in [
        ("", "header is not JSON"),
        ("[]", "header is not JSON"),
        (r#"{"a": 3}"#, "tensor \"a\""),
        (r#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#, "F31"),
        (r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, "needs 12 bytes"),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, "outside"),
        (r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, "cut"),
        (r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#, "larger than any"),
        (r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}}"#, "tensor \"a\""),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
            "overlap",
        ),
    ] {
        let problem = problem(&file(header, &[0; 8]));
        assert!(problem.contains(part), "{header}: {problem}");
    }
    assert!(problem(&Bytes::aligned_copy(&[1, 2, 3])).contains("3 bytes"));
    assert!(problem(&Bytes::aligned_copy(&(1u64 << 60).to_le_bytes())).contains("limit"));
    assert!(problem(&Bytes::aligned_copy(&100u64.to_le_bytes())).contains("cut short"));
}
