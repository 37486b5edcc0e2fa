//! How devices and metrics are written, in settings and everywhere else.

use std::fmt;

use super::plan::{Device, Metric};

impl Device {
    /// Reads `auto`, `cpu`, `cuda` (the first device) or `cuda:N`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            // `parse` alone would take `+1`.
            _ => text
                .strip_prefix("cuda:")
                .filter(|ordinal| ordinal.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|ordinal| ordinal.parse().ok())
                .map(Self::Cuda),
        }
    }
}

impl fmt::Display for Device {
    /// The form that [`Device::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl Metric {
    /// Reads `accuracy`, `mae` or `topK` with K from 1, such as `top5`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "accuracy" => Some(Self::Accuracy),
            "mae" => Some(Self::Mae),
            _ => text
                .strip_prefix("top")
                .filter(|k| !k.starts_with('0') && k.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|k| k.parse().ok())
                .map(Self::TopK),
        }
    }
}

impl fmt::Display for Metric {
    /// The form that [`Metric::parse`] reads; the column of `history.csv` has `val_` before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accuracy => f.write_str("accuracy"),
            Self::TopK(k) => write!(f, "top{k}"),
            Self::Mae => f.write_str("mae"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_reads_back_from_its_name_and_other_words_are_refused() {
        for device in [Device::Auto, Device::Cpu, Device::Cuda(0), Device::Cuda(7)] {
            assert_eq!(Device::parse(&device.to_string()), Some(device));
        }
        assert_eq!(Device::parse("cuda"), Some(Device::Cuda(0)));
        for text in ["", "gpu", "CPU", "cuda:", "cuda:+1", "cuda:-1", "cuda: 1", "cuda:99999999999"] {
            assert_eq!(Device::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_metric_reads_back_from_its_name_and_other_words_are_refused() {
        for metric in [Metric::Accuracy, Metric::Mae, Metric::TopK(1), Metric::TopK(10)] {
            assert_eq!(Metric::parse(&metric.to_string()), Some(metric));
        }
        for text in ["", "loss", "top", "top0", "top05", "top+5", "top-5", "top99999999999999999999"] {
            assert_eq!(Metric::parse(text), None, "{text}");
        }
    }
}
