//! Defaults, what is written, and what cannot be used.

use super::*;

#[test]
fn defaults_are_gpt2_small() {
    let config = Config::from_json(b"{}").expect("defaults");
    assert_eq!((config.n_layer, config.n_head, config.n_embd, config.n_inner), (12, 12, 768, 3072));
    assert_eq!((config.vocab_size, config.n_positions, config.eos_token_ids), (50_257, 1024, vec![50_256]));
}

#[test]
fn what_is_written_is_read_again() {
    for json in [
        r#"{}"#,
        r#"{"n_embd": 60, "n_head": 5, "n_inner": 7, "activation_function": "silu", "tie_word_embeddings": false,
            "layer_norm_epsilon": 3e-6, "scale_attn_weights": false, "eos_token_id": [1, 2]}"#,
        r#"{"scale_attn_by_inverse_layer_idx": true, "eos_token_id": null, "activation_function": "gelu"}"#,
    ] {
        let config = Config::from_json(json.as_bytes()).expect("a configuration");
        assert_eq!(Config::from_json(config.to_json().as_bytes()), Ok(config), "{json}");
    }
}

/// As `GPT2Config` of transformers 5.23 reads them.
#[test]
fn aliases_precede_the_names() {
    let json = br#"{"n_embd": 32, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 8,
        "max_position_embeddings": 64, "activation_function": "gelu_fast"}"#;
    let config = Config::from_json(json).expect("a configuration");
    assert_eq!((config.n_embd, config.n_layer, config.n_head, config.n_positions), (16, 2, 8, 64));
    assert_eq!((config.n_inner, config.activation), (64, Activation::GeluTanh));
}

#[test]
fn what_cannot_be_used_is_named() {
    for (json, part) in [
        (r#"{"activation_function": "mish"}"#, "\"mish\""),
        (r#"{"n_head": 7}"#, "n_head 7"),
        (r#"{"n_layer": 0}"#, "n_layer is 0"),
        (r#"{"n_embd": 18446744073709551615}"#, "n_embd"),
        (r#"{"model_type": "llama"}"#, "llama"),
        (r#"{"n_layer": "two"}"#, "not a GPT-2 configuration: n_layer is \"two\": invalid type"),
        (r#"{"n_layer": 2, "num_hidden_layers": 2.0}"#, "num_hidden_layers is 2.0: invalid type"),
        ("[1, 2", "not a GPT-2 configuration"),
        (r#"{"layer_norm_epsilon": -1}"#, "layer_norm_epsilon"),
    ] {
        let error = Config::from_json(json.as_bytes()).expect_err(json);
        assert!(error.contains(part), "{json}: {error}");
    }
}
