//! Functions compiled twice: for the instruction set this program is built for and for AVX2.
//!
//! Both give the same bits: Rust never contracts a multiplication and an addition into one operation with one rounding,
//! so both compute the same IEEE 754 results lane by lane.

/// Defines `$portable` and a function `$name` that runs it compiled for AVX2 where the processor has that.
macro_rules! vectorized {
    ($(#[$doc:meta])* fn $name:ident / $portable:ident ($($argument:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        // The copy for AVX2 may only be called where the processor has it; that call is the only unsafe code here.
        #[allow(unsafe_code)]
        pub(in crate::engine::optimizer) fn $name($($argument: $type),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide($($argument: $type),*) $(-> $out)? {
                    $portable($($argument),*)
                }
                if std::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has AVX2, as just detected; the function has no other requirement.
                    return unsafe { wide($($argument),*) };
                }
            }
            $portable($($argument),*)
        }

        #[inline(always)]
        pub(in crate::engine::optimizer) fn $portable($($argument: $type),*) $(-> $out)? $body
    };
}

pub(super) use vectorized;
