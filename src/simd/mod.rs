//! One text, many instruction sets.
//!
//! A loop marked `kernel!` is written once, as plain Rust over `f32`, and compiled once for each instruction set. The
//! compiler turns it into vector code. The operations and their order stay those of the text, so every copy computes
//! the same bits. The copy is chosen once, at the start: the widest instruction set of the processor, or the one that
//! the environment variable `GPT2_SIMD` names.

#[cfg(any(test, target_arch = "wasm32"))]
mod fused;
mod half;
pub(crate) mod lanes;

pub(crate) use half::{round_bf16, round_f16, widen_bf16, widen_f16};

use crate::error::{Error, Result};
use crate::names::names;
use std::sync::OnceLock;

/// How many numbers advance together, on every processor. A sum over a row is kept in this many partial sums, element
/// `i` in partial sum `i mod 16`.
pub const LANES: usize = 16;

/// An instruction set that a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Simd {
    /// What every machine of the target has. If that is no fused multiply-add, `f32::mul_add` is a correctly rounded
    /// library call: slow, and the same bits.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C: 8 lanes.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL: 16 lanes.
    Avx512,
    /// arm64, which always has NEON with its fused multiply-add: 4 lanes.
    Neon,
    /// WebAssembly with 4 lanes, chosen when the program is compiled. A fused multiply-add is several operations in f64.
    Simd128,
}

// the values of `GPT2_SIMD`, and what `info` and `bench` print
names!(Simd { Scalar: "scalar", Avx2: "avx2", Avx512: "avx512", Neon: "neon", Simd128: "simd128" });

impl Simd {
    /// The widest instruction set of this machine.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            match (avx2, avx512) {
                (true, true) => return Self::Avx512,
                (true, false) => return Self::Avx2,
                _ => {}
            }
        }
        if cfg!(target_arch = "aarch64") {
            Self::Neon
        } else if cfg!(target_feature = "simd128") {
            Self::Simd128
        } else {
            Self::Scalar
        }
    }

    /// The instruction sets of this machine, the widest last.
    pub fn available() -> &'static [Self] {
        match Self::detect() {
            Self::Scalar => &[Self::Scalar],
            Self::Avx2 => &[Self::Scalar, Self::Avx2],
            Self::Avx512 => &[Self::Scalar, Self::Avx2, Self::Avx512],
            Self::Neon => &[Self::Scalar, Self::Neon],
            Self::Simd128 => &[Self::Simd128],
        }
    }

    /// What `GPT2_SIMD` asks for, or the widest.
    ///
    /// # Errors
    /// [`Error::Input`] if the variable names no instruction set, or one that this machine lacks.
    pub fn from_environment() -> Result<Self> {
        let here = Self::available();
        let Some(asked) = std::env::var_os("GPT2_SIMD").filter(|asked| !asked.is_empty()) else {
            return Ok(Self::detect());
        };
        (here.iter().copied().find(|simd| asked == simd.name())).ok_or_else(|| {
            let names = here.iter().map(|simd| simd.name()).collect::<Vec<_>>().join(", ");
            let asked = asked.to_string_lossy();
            Error::input(format!("GPT2_SIMD={asked}: not an instruction set of this machine; it has {names}"))
        })
    }

    /// The instruction set in use. A wrong `GPT2_SIMD` is ignored here: the command line refuses it earlier.
    #[inline]
    pub fn current() -> Self {
        #[cfg(test)]
        if let Some(forced) = tests::FORCED.get() {
            return forced;
        }
        static CURRENT: OnceLock<Simd> = OnceLock::new();
        *CURRENT.get_or_init(|| Self::from_environment().unwrap_or_else(|_| Self::detect()))
    }
}

/// Compiles a function once for each instruction set. A call runs the copy for [`Simd::current`].
///
/// The function may take a list of `const` parameters in square brackets and one type parameter. Its text can use `L`,
/// the [`Lanes`](lanes::Lanes) of the instruction set that it is compiled for. It calls their operations in loops, not in
/// closures: the compiler may leave a closure out of the copy, and then every operation is a call.
macro_rules! kernel {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident $([$(const $c:ident: $ct:ty),+])? $(<$g:ident: $bound:path>)?
        ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block
    ) => {
        $(#[$meta])*
        #[inline]
        #[allow(clippy::too_many_arguments)]
        $vis fn $name<$($g: $bound,)? $($(const $c: $ct),+)?>($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, clippy::extra_unused_type_parameters)]
            fn text<$($g: $bound,)? L: $crate::simd::lanes::Lanes, $($(const $c: $ct),+)?>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            fn avx2<$($g: $bound,)? $($(const $c: $ct),+)?>($($arg: $ty),*) $(-> $ret)? {
                text::<$($g,)? $crate::simd::lanes::Avx2, $($($c),+)?>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            fn avx512<$($g: $bound,)? $($(const $c: $ct),+)?>($($arg: $ty),*) $(-> $ret)? {
                text::<$($g,)? $crate::simd::lanes::Avx512, $($($c),+)?>($($arg),*)
            }

            match $crate::simd::Simd::current() {
                // SAFETY: `Simd::current` names an instruction set only after the processor was asked for it.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Simd::Avx512 => unsafe { avx512::<$($g,)? $($($c),+)?>($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Simd::Avx2 => unsafe { avx2::<$($g,)? $($($c),+)?>($($arg),*) },
                #[cfg(target_arch = "aarch64")]
                $crate::simd::Simd::Neon => text::<$($g,)? $crate::simd::lanes::Neon, $($($c),+)?>($($arg),*),
                #[cfg(target_feature = "simd128")]
                _ => text::<$($g,)? $crate::simd::lanes::Simd128, $($($c),+)?>($($arg),*),
                #[cfg(not(target_feature = "simd128"))]
                _ => text::<$($g,)? $crate::simd::lanes::Plain, $($($c),+)?>($($arg),*),
            }
        }
    };
}
pub(crate) use kernel;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        /// Overrides [`Simd::current`] on this thread.
        pub static FORCED: Cell<Option<Simd>> = const { Cell::new(None) };
    }

    /// Runs `work` under every instruction set of this machine, on threads that all use that one.
    pub fn under_each(mut work: impl FnMut(Simd) + Send) {
        for simd in Simd::available() {
            let threads = rayon::ThreadPoolBuilder::new().num_threads(2);
            let threads = threads.start_handler(move |_| FORCED.set(Some(*simd))).build().expect("threads");
            threads.install(|| work(*simd));
        }
    }

    kernel! {
        /// a * b + c, elementwise, with one rounding.
        fn fused(a: &[f32], b: &[f32], c: &mut [f32]) {
            for ((a, b), c) in a.iter().zip(b).zip(c) {
                *c = a.mul_add(*b, *c);
            }
        }
    }

    #[test]
    fn every_copy_rounds_once() {
        under_each(|_| {
            let mut c = [-1.0; 19];
            let tiny = 1.0 + f32::EPSILON;
            fused(&[tiny; 19], &[1.0 - f32::EPSILON; 19], &mut c);
            assert_eq!(c, [-f32::EPSILON * f32::EPSILON; 19]);
        });
    }
}
