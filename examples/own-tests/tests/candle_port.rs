//! The port in candle against the library: every stage is computed again from the port's own input.

use candle_core::{Device, Tensor};
use gpt2::format::safetensors::SafeTensors;
use gpt2::inspect::diff::TOLERANCE;
use gpt2::inspect::doctor::{Verdict, examine};
use own_tests::{Port, Stages};

#[test]
fn no_stage_is_wrong() -> Result<(), Box<dyn std::error::Error>> {
    let lm = gpt2::checkpoint::bundled();
    let mut weights = std::collections::HashMap::new();
    for (spec, tensor) in lm.model.tensors() {
        weights.insert(spec.name, Tensor::from_vec(tensor.to_f32(), spec.shape, &Device::Cpu)?);
    }
    let config = &lm.model.config;
    let eps = config.layer_norm_epsilon.into();
    let mut port = Port { weights, n_layer: config.n_layer, n_head: config.n_head, eps };

    let ids = lm.bpe.encode("The little dog ran into the");
    let wrong = |port: &Port| -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let mut stages = Stages::default();
        stages.tap_ids(&ids);
        port.forward(&ids, &mut stages)?;
        let file = tempfile(&stages)?;
        let findings = examine(&lm.model, &file, None, TOLERANCE)?;
        let wrong = findings.into_iter().filter(|finding| finding.verdict == Verdict::Wrong);
        Ok(wrong.map(|finding| finding.mistake.unwrap_or_default()).collect())
    };
    assert_eq!(wrong(&port)?, [""; 0]);

    port.eps = 1e-3;
    let mistakes = wrong(&port)?;
    assert!(
        !mistakes.is_empty() && mistakes.iter().all(|mistake| mistake.contains("epsilon 1e-3")),
        "{mistakes:?}"
    );
    Ok(())
}

/// The stages through a file, as `gpt2 diff` reads them.
fn tempfile(stages: &Stages) -> Result<SafeTensors, Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("candle-port-{}.safetensors", std::process::id()));
    stages.write(&path)?;
    let file = SafeTensors::open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}
