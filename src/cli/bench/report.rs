//! What `gpt2 bench` prints.

use super::super::failure::Failure;
use super::super::report::output;
use super::limits::Limits;
use serde::Serialize;
use std::io::Write;

/// All measurements, as `--json` prints them.
#[derive(Serialize)]
pub struct Report {
    pub model: String,
    pub dtype: &'static str,
    pub kv_cache_dtype: &'static str,
    pub threads: usize,
    pub simd: &'static str,
    pub prefill: Vec<Prefill>,
    pub decode: Vec<Decode>,
    pub limits: Limits,
}

/// The speed of reading a prompt.
#[derive(Serialize)]
pub struct Prefill {
    pub tokens: usize,
    pub tokens_per_s: f64,
    pub gflops: f64,
    pub of_peak: f64,
}

/// The speed of writing several texts together.
#[derive(Serialize)]
pub struct Decode {
    pub context: usize,
    pub batch: usize,
    pub tokens_per_s: f64,
    pub gb_per_s: f64,
    pub of_bandwidth: f64,
}

/// Prints the measurements as tables.
pub fn print(report: &Report) -> Result<(), Failure> {
    let Report { model, dtype, kv_cache_dtype, threads, simd, prefill, decode, limits } = report;
    let out = &mut output();
    writeln!(out, "{model}, {dtype}, keys and values {kv_cache_dtype}, {threads} threads, {simd}; medians")?;
    let Limits { read_gb_per_s, fma_gflops, int8_gops } = limits;
    write!(out, "this machine: reads {read_gb_per_s:.1} GB/s, {fma_gflops:.0} GFLOP/s f32")?;
    match int8_gops {
        Some(gops) => writeln!(out, ", {gops:.0} GOP/s int8, the peak below")?,
        None => writeln!(out)?,
    }
    writeln!(out, "\nprefill   tokens/s   GFLOP/s   of peak")?;
    for Prefill { tokens, tokens_per_s, gflops, of_peak } in prefill {
        let percent = 100.0 * of_peak;
        writeln!(out, "{tokens:>7} {tokens_per_s:>10.0} {gflops:>9.0} {percent:>8.0} %")?;
    }
    writeln!(out, "\ncontext  batch  tokens/s      GB/s  of bandwidth")?;
    for Decode { context, batch, tokens_per_s, gb_per_s, of_bandwidth } in decode {
        let percent = 100.0 * of_bandwidth;
        writeln!(out, "{context:>7} {batch:>6} {tokens_per_s:>9.1} {gb_per_s:>9.1} {percent:>10.0} %")?;
    }
    Ok(out.flush()?)
}
