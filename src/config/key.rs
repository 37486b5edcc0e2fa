//! What one setting is: the type of the rows of the table in [`super::table`].

use std::ops::Bound;

use super::differences::Class;

/// The declaration of one setting. Everything that is said or checked about a setting on its own comes from here.
#[derive(Debug)]
pub struct Key {
    /// Dotted path; the segment `<name>` stands for a name that the user chooses.
    pub path: &'static str,
    /// What it means, in sentences.
    pub meaning: &'static str,
    /// Unit of the value; empty if it has none.
    pub unit: &'static str,
    /// Which values it takes.
    pub takes: Takes,
    /// What holds when it is not given.
    pub default: DefaultValue,
    /// The choice that it belongs to; `None` means that it always applies.
    pub only_with: Option<OnlyWith>,
    /// What changing it means for a run that has already computed steps.
    pub class: Class,
    /// Names under which other programs know it; only for suggestions.
    pub also_known_as: &'static [&'static str],
}

/// Which values a setting takes.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// `true` or `false`.
    Bool,
    /// A whole number in a closed range.
    Integer {
        /// Smallest value.
        min: i128,
        /// Largest value.
        max: i128,
    },
    /// A whole number from `min`, or this word.
    IntegerOr {
        /// Smallest value.
        min: i128,
        /// The word.
        word: &'static str,
    },
    /// A finite number.
    Float(FloatRange),
    /// A finite number that is kept with single precision; it must be in range after rounding, too.
    Single(FloatRange),
    /// An array of two finite numbers.
    FloatPair(FloatRange),
    /// A string that is not empty.
    Text,
    /// A path; relative ones start at the folder of the settings file, or at the current folder for `--set`.
    Path,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// `"auto"`, `"cpu"`, `"cuda"` or `"cuda:N"`.
    Device,
    /// An array of strings that are not empty.
    Texts,
    /// An array of names of metrics.
    Metrics,
    /// An array of finite numbers.
    Floats(FloatRange),
    /// An array of single-precision numbers; a number alone is taken as an array of one.
    Singles(FloatRange),
    /// An array of strictly ascending whole numbers, each at least this.
    Ascending(i128),
}

/// A range of finite numbers.
#[derive(Debug, Clone, Copy)]
pub struct FloatRange {
    /// Lower end.
    pub min: Bound<f64>,
    /// Upper end.
    pub max: Bound<f64>,
}

impl FloatRange {
    /// Every finite number.
    pub const ANY: Self = Self { min: Bound::Unbounded, max: Bound::Unbounded };
    /// Numbers from 0.
    pub const NOT_NEGATIVE: Self = Self { min: Bound::Included(0.0), max: Bound::Unbounded };
    /// Numbers up to 0.
    pub const NOT_POSITIVE: Self = Self { min: Bound::Unbounded, max: Bound::Included(0.0) };
    /// Numbers above 0.
    pub const POSITIVE: Self = Self { min: Bound::Excluded(0.0), max: Bound::Unbounded };
    /// `[1, ...)`
    pub const FROM_ONE: Self = Self { min: Bound::Included(1.0), max: Bound::Unbounded };
    /// `[0, 1)`
    pub const BELOW_ONE: Self = Self { min: Bound::Included(0.0), max: Bound::Excluded(1.0) };
    /// `(0, 1]`
    pub const UP_TO_ONE: Self = Self { min: Bound::Excluded(0.0), max: Bound::Included(1.0) };
    /// `(0, 1)`
    pub const INSIDE_UNIT: Self = Self { min: Bound::Excluded(0.0), max: Bound::Excluded(1.0) };

    /// Whether `value` is finite and in range.
    pub fn contains(&self, value: f64) -> bool {
        use std::ops::RangeBounds as _;
        value.is_finite() && (self.min, self.max).contains(&value)
    }

    /// The range in words that follow "a number" or "numbers"; empty if every finite number is in it.
    fn words(&self) -> String {
        match (self.min, self.max) {
            (Bound::Unbounded, Bound::Unbounded) => String::new(),
            (Bound::Included(min), Bound::Unbounded) => format!(" of at least {min}"),
            (Bound::Excluded(min), Bound::Unbounded) => format!(" above {min}"),
            (Bound::Unbounded, Bound::Included(max)) => format!(" of at most {max}"),
            (min, max) => {
                let (open, min) = match min {
                    Bound::Included(min) => ('[', min.to_string()),
                    Bound::Excluded(min) => ('(', min.to_string()),
                    Bound::Unbounded => ('(', "-inf".to_owned()),
                };
                let (close, max) = match max {
                    Bound::Included(max) => (']', max.to_string()),
                    Bound::Excluded(max) => (')', max.to_string()),
                    Bound::Unbounded => (')', "inf".to_owned()),
                };
                format!(" in {open}{min}, {max}{close}")
            }
        }
    }

    /// The lower end for the documentation.
    fn minimum(&self) -> Option<String> {
        match self.min {
            Bound::Included(min) => Some(min.to_string()),
            Bound::Excluded(min) => Some(format!("above {min}")),
            Bound::Unbounded => None,
        }
    }
}

impl Takes {
    /// A whole number from `min` up to what 64 bits hold.
    pub const fn from(min: i128) -> Self {
        Self::Integer { min, max: u64::MAX as i128 }
    }

    /// What the setting takes, for "expected ...".
    pub fn expected(&self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Integer { min, max } if *min == i128::from(i64::MIN) && *max == i128::from(i64::MAX) => {
                "an integer".to_owned()
            }
            Self::Integer { min, max } if *max == i128::from(u64::MAX) => {
                format!("an integer of at least {min}")
            }
            Self::Integer { min, max } => format!("an integer from {min} to {max}"),
            Self::IntegerOr { min, word } => format!("an integer of at least {min}, or \"{word}\""),
            Self::Float(range) => format!("a finite number{}", range.words()),
            Self::Single(range) => format!("a finite number of single precision{}", range.words()),
            Self::FloatPair(range) => format!("an array of two finite numbers{}", range.words()),
            Self::Text => "a string that is not empty".to_owned(),
            Self::Path => "a path as a string".to_owned(),
            Self::Choice([only]) => format!("\"{only}\""),
            Self::Choice(choices) => format!("one of {}", quoted_list(choices, ", ")),
            Self::Device => {
                "\"auto\", \"cpu\", \"cuda\" or \"cuda:N\" with the number of a device".to_owned()
            }
            Self::Texts => "an array of strings that are not empty".to_owned(),
            Self::Metrics => {
                "an array of different metrics: \"accuracy\", \"topK\" (\"top5\", for instance), \"precision\", \"recall\", \
                 \"f1\", each of these three with \"_micro\", \"auroc\", \"perplexity\", \"mae\" or \"r2\""
                    .to_owned()
            }
            Self::Floats(range) => format!("an array of finite numbers{}", range.words()),
            Self::Singles(range) => {
                format!("a finite number of single precision{}, or an array of those", range.words())
            }
            Self::Ascending(min) => format!("an array of ascending integers of at least {min}"),
        }
    }

    /// The smallest value for the documentation; `None` where there is no order or no lower end.
    pub fn minimum(&self) -> Option<String> {
        match self {
            Self::Integer { min, .. } if *min == i128::from(i64::MIN) => None,
            Self::Integer { min, .. } | Self::IntegerOr { min, .. } | Self::Ascending(min) => {
                Some(min.to_string())
            }
            Self::Float(range)
            | Self::Single(range)
            | Self::FloatPair(range)
            | Self::Floats(range)
            | Self::Singles(range) => range.minimum(),
            _ => None,
        }
    }

    /// Whether the setting takes a single string, so that `--set` needs no quotes whatever the text looks like.
    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Text | Self::Path | Self::Choice(_) | Self::Device)
    }
}

/// What holds when a setting is not given. The texts are TOML values.
#[derive(Debug, Clone, Copy)]
pub enum DefaultValue {
    /// Always this value.
    Always(&'static str),
    /// It depends on the value of the choice `key`; a value of the choice that is not listed has no default, and the
    /// setting must be given.
    By {
        /// The choice.
        key: &'static str,
        /// Value of the choice, default.
        cases: &'static [(&'static str, &'static str)],
        /// A value that makes sense.
        example: &'static str,
    },
    /// It depends on whether the model is a builtin one or the user's.
    ByModel {
        /// Tuned for the builtin models.
        builtin: &'static str,
        /// PyTorch's.
        onnx: &'static str,
    },
    /// It depends on the value of the choice `key` where that is listed, and on the model elsewhere.
    ByOrModel {
        /// The choice.
        key: &'static str,
        /// Value of the choice, default.
        cases: &'static [(&'static str, &'static str)],
        /// Tuned for the builtin models.
        builtin: &'static str,
        /// PyTorch's.
        onnx: &'static str,
    },
    /// It is not set; `words` say what that means. `"none"` says so explicitly where the setting is a number.
    Unset {
        /// What then holds.
        words: &'static str,
        /// A value that makes sense.
        example: &'static str,
    },
    /// It is found out from the machine or from other settings; `words` say how.
    Derived {
        /// What then holds.
        words: &'static str,
        /// A value that makes sense.
        example: &'static str,
    },
    /// It must be given where it applies.
    Required {
        /// A value that makes sense.
        example: &'static str,
    },
}

/// The choice that a setting belongs to.
#[derive(Debug, Clone, Copy)]
pub struct OnlyWith {
    /// The key that holds the choice.
    pub key: &'static str,
    /// Values of that key with which the setting applies; empty means that the key must be set to anything.
    pub values: &'static [&'static str],
}

impl OnlyWith {
    /// The choice in words, for "only with ...".
    pub fn words(&self) -> String {
        if self.values.is_empty() {
            return self.key.to_owned();
        }
        if let Some(Key { takes: Takes::Choice(choices), .. }) = super::table::declared(self.key) {
            let others: Vec<&str> =
                choices.iter().filter(|choice| !self.values.contains(choice)).copied().collect();
            if others.len() < self.values.len() {
                return format!("any {} but {}", self.key, quoted_list(&others, " and "));
            }
        }
        format!("{} = {}", self.key, quoted_list(self.values, " or "))
    }
}

impl Key {
    /// A setting without a unit that always applies and whose change is refused on resume.
    pub(super) const fn new(
        path: &'static str,
        meaning: &'static str,
        takes: Takes,
        default: DefaultValue,
    ) -> Self {
        let (unit, only_with, class, also_known_as) = ("", None, Class::Bound, &[]);
        Self { path, meaning, unit, takes, default, only_with, class, also_known_as }
    }

    pub(super) const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    pub(super) const fn only_with(mut self, key: &'static str, values: &'static [&'static str]) -> Self {
        self.only_with = Some(OnlyWith { key, values });
        self
    }

    pub(super) const fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    pub(super) const fn also_known_as(mut self, names: &'static [&'static str]) -> Self {
        self.also_known_as = names;
        self
    }

    /// The last segment of the path.
    pub(super) fn leaf(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The table that holds the key; empty for the top of the file.
    pub(super) fn table(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(table, _)| table)
    }

    /// Whether `"none"` is taken and means not set.
    pub(super) fn can_be_none(&self) -> bool {
        matches!(self.default, DefaultValue::Unset { .. })
            && matches!(self.takes, Takes::Integer { .. } | Takes::IntegerOr { .. } | Takes::Float(_))
    }

    /// A value that makes sense, as TOML.
    pub(super) fn example(&self) -> &'static str {
        match self.default {
            DefaultValue::Always(value) => value,
            DefaultValue::ByModel { onnx, .. } | DefaultValue::ByOrModel { onnx, .. } => onnx,
            DefaultValue::By { example, .. }
            | DefaultValue::Unset { example, .. }
            | DefaultValue::Derived { example, .. }
            | DefaultValue::Required { example } => example,
        }
    }

    /// The default in words or as TOML.
    pub fn default_words(&self) -> String {
        match self.default {
            DefaultValue::Always(value) => value.to_owned(),
            DefaultValue::By { key, cases, .. } => words_of_cases(key, cases),
            DefaultValue::ByOrModel { key, cases, builtin, onnx } => {
                let cases = words_of_cases(key, cases);
                format!("{onnx} with model.onnx, {builtin} with model.builtin, but {cases}")
            }
            DefaultValue::ByModel { builtin, onnx } => {
                format!("{onnx} with model.onnx, {builtin} with model.builtin")
            }
            DefaultValue::Unset { words, .. } => format!("not set ({words})"),
            DefaultValue::Derived { words, .. } => words.to_owned(),
            DefaultValue::Required { .. } => "none, it must be given".to_owned(),
        }
    }
}

/// The defaults by choice; choices with the same default are named together.
fn words_of_cases(key: &str, cases: &[(&str, &str)]) -> String {
    let mut choices_by_value: Vec<(&str, Vec<&str>)> = Vec::new();
    for (choice, value) in cases {
        match choices_by_value.iter_mut().find(|(known, _)| known == value) {
            Some((_, choices)) => choices.push(choice),
            None => choices_by_value.push((value, vec![choice])),
        }
    }
    let words = choices_by_value
        .iter()
        .map(|(value, choices)| format!("{value} with {key} = {}", quoted_list(choices, " or ")));
    words.collect::<Vec<_>>().join(", ")
}

/// `items` in quotes.
fn quoted_list(items: &[&str], separator: &str) -> String {
    items.iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(separator)
}
