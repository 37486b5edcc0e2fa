//! How devices and metrics are written, in settings and everywhere else.

use std::fmt;

use super::plan::{Average, Device, Metric};

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

/// Every metric but the top-k accuracies, by name.
const METRICS: [(&str, Metric); 11] = [
    ("accuracy", Metric::Accuracy),
    ("mae", Metric::Mae),
    ("precision", Metric::Precision(Average::Macro)),
    ("precision_micro", Metric::Precision(Average::Micro)),
    ("recall", Metric::Recall(Average::Macro)),
    ("recall_micro", Metric::Recall(Average::Micro)),
    ("f1", Metric::F1(Average::Macro)),
    ("f1_micro", Metric::F1(Average::Micro)),
    ("auroc", Metric::Auroc),
    ("perplexity", Metric::Perplexity),
    ("r2", Metric::R2),
];

impl Metric {
    /// Reads the name of a metric, such as `accuracy`, or `topK` with K from 1, such as `top5`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((_, metric)) = METRICS.iter().find(|(name, _)| *name == text) {
            return Some(*metric);
        }
        text.strip_prefix("top")
            .filter(|k| !k.starts_with('0') && k.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|k| k.parse().ok())
            .map(Self::TopK)
    }

    /// Whether a larger value is a better one.
    pub fn higher_is_better(self) -> bool {
        !matches!(self, Self::Mae | Self::Perplexity)
    }
}

impl fmt::Display for Metric {
    /// The form that [`Metric::parse`] reads; the column of `history.csv` has `val_` before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::TopK(k) = self {
            return write!(f, "top{k}");
        }
        let named = METRICS.iter().find(|(_, metric)| metric == self);
        f.write_str(named.map_or("", |(name, _)| name))
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
        let all = METRICS.iter().map(|(_, metric)| *metric);
        for metric in all.chain([Metric::TopK(1), Metric::TopK(10)]) {
            assert_eq!(Metric::parse(&metric.to_string()), Some(metric));
        }
        for text in ["", "loss", "top", "top0", "top05", "top+5", "top-5", "top99999999999999999999"] {
            assert_eq!(Metric::parse(text), None, "{text}");
        }
    }
}
