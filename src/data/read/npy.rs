//! NumPy's `.npy` format, as `numpy.lib.format` describes it, for plain arrays.
//!
//! ```text
//! offset  size  field
//! 0       6     magic 0x93 "NUMPY"
//! 6       1     major version: 1, 2 or 3
//! 7       1     minor version: 0
//! 8       2, 4  header length, little-endian u16 (version 1) or u32 (versions 2 and 3)
//! 10, 12  n     header: a Python dictionary with `descr`, `fortran_order` and `shape`, padded with spaces, then \n
//! ...           the elements
//! ```

use bytes::Bytes;

use super::ReadError;
use crate::data::array::{Array, Dtype, Place, ShapeProblem, show_shape};

pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// NumPy itself refuses longer headers; those of plain arrays take about 100 bytes.
const MAX_HEADER_BYTES: usize = 10_000;

/// NumPy allows no more axes.
const MAX_AXES: usize = 64;

/// Reads an array whose elements stay where they are in `bytes`.
pub(super) fn read(place: Place, bytes: Bytes) -> Result<Array, ReadError> {
    let damaged = |problem| ReadError::Header { place: place.clone(), format: "npy", problem };
    let (text, data_start) = split_header(&bytes).map_err(damaged)?;
    let header = Header::parse(text).map_err(damaged)?;
    let Some(dtype) = dtype_of(&header.descr) else {
        return Err(ReadError::Dtype { place, found: describe(&header.descr) });
    };
    // With at most one axis longer than 1 both orders are the same.
    if header.fortran_order && header.shape.iter().filter(|axis| **axis != 1).count() > 1 {
        return Err(ReadError::FortranOrder { place });
    }
    checked(place, dtype, &header.shape, bytes.slice(data_start..))
}

/// The array of a header whose shape may lie.
pub(super) fn checked(place: Place, dtype: Dtype, shape: &[usize], data: Bytes) -> Result<Array, ReadError> {
    let found_bytes = data.len() as u64;
    Array::new(place.clone(), dtype, shape, data)
        .map_err(|problem| shape_error(place, dtype, shape, found_bytes, &problem))
}

pub(super) fn shape_error(
    place: Place,
    dtype: Dtype,
    shape: &[usize],
    found_bytes: u64,
    problem: &ShapeProblem,
) -> ReadError {
    let dims = shape.to_vec();
    let shape = show_shape(shape);
    match problem {
        ShapeProblem::Scalar => ReadError::Scalar { place },
        ShapeProblem::Empty => ReadError::Empty { place, shape: dims },
        ShapeProblem::Size { expected: None } => ReadError::TooLarge { place, shape },
        ShapeProblem::Size { expected: Some(expected) } => {
            ReadError::Length { place, dtype, shape, expected_bytes: *expected as u64, found_bytes }
        }
    }
}

/// The header's text and the offset of the first element.
fn split_header(bytes: &[u8]) -> Result<(&str, usize), String> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        let start = bytes.get(..MAGIC.len()).unwrap_or(bytes).escape_ascii();
        return Err(format!("found `{start}` at the start, expected `{}`", MAGIC.escape_ascii()));
    };
    let cut = || format!("the file ends after {} bytes", bytes.len());
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    let (length, rest) = match version {
        [1, 0] => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        [2 | 3, 0] => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            (usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX), rest)
        }
        [major, minor] => return Err(format!("found version {major}.{minor}, expected 1.0, 2.0 or 3.0")),
    };
    if length > MAX_HEADER_BYTES {
        return Err(format!("found a length of {length} bytes, expected at most {MAX_HEADER_BYTES}"));
    }
    let header = rest.get(..length).ok_or_else(cut)?;
    let text = std::str::from_utf8(header).map_err(|error| format!("it is not text: {error}"))?;
    Ok((text, bytes.len() - rest.len() + length))
}

/// The element type, or what stands in its place: the text of a structured type.
#[derive(Debug, PartialEq, Eq)]
enum Descr {
    Plain(String),
    Structured,
}

#[derive(Debug, PartialEq, Eq)]
struct Header {
    descr: Descr,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Parses the dictionary: each of the three keys exactly once, in any order, and nothing after it but padding.
    fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text };
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        parser.expect("{")?;
        while !parser.accept("}") {
            let key = parser.string()?;
            parser.expect(":")?;
            let repeated = match key {
                "descr" => descr.replace(parser.descr()?).is_some(),
                "fortran_order" => fortran_order.replace(parser.boolean()?).is_some(),
                "shape" => shape.replace(parser.shape()?).is_some(),
                _ => return Err(format!("found the unknown key `{}`", key.escape_debug())),
            };
            if repeated {
                return Err(format!("the key `{key}` comes twice"));
            }
            // A structured type is reported as such rather than parsed to its end.
            if descr == Some(Descr::Structured) {
                return Ok(Self { descr: Descr::Structured, fortran_order: false, shape: Vec::new() });
            }
            if !parser.accept(",") {
                parser.expect("}")?;
                break;
            }
        }
        if !parser.rest.trim_matches([' ', '\n', '\0']).is_empty() {
            return Err(format!("found {} after its end", parser.shown()));
        }
        let missing = |key| format!("the key `{key}` is missing");
        Ok(Self {
            descr: descr.ok_or_else(|| missing("descr"))?,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }
}

/// A cursor over the few forms of Python literals that occur in headers.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn accept(&mut self, token: &str) -> bool {
        match self.rest.trim_start_matches(' ').strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.accept(token) { Ok(()) } else { Err(format!("found {}, expected `{token}`", self.shown())) }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        for quote in ["'", "\""] {
            if self.accept(quote) {
                let (text, rest) = self.rest.split_once(quote).ok_or("a quote is not closed")?;
                self.rest = rest;
                return Ok(text);
            }
        }
        Err(format!("found {}, expected a quoted name", self.shown()))
    }

    fn descr(&mut self) -> Result<Descr, String> {
        if self.accept("[") || self.accept("(") {
            return Ok(Descr::Structured);
        }
        self.string().map(|text| Descr::Plain(text.to_owned()))
    }

    fn boolean(&mut self) -> Result<bool, String> {
        if self.accept("True") {
            return Ok(true);
        }
        self.expect("False").map(|()| false)
    }

    fn shape(&mut self) -> Result<Vec<usize>, String> {
        let mut axes = Vec::new();
        self.expect("(")?;
        while !self.accept(")") {
            if axes.len() == MAX_AXES {
                return Err(format!("the shape has more than {MAX_AXES} axes"));
            }
            axes.push(self.number()?);
            if !self.accept(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(axes)
    }

    fn number(&mut self) -> Result<usize, String> {
        self.rest = self.rest.trim_start_matches(' ');
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let number =
            digits.parse().map_err(|_| format!("found {}, expected an axis length", self.shown()))?;
        // Python 2 wrote long integers with this suffix.
        self.rest = rest.strip_prefix('L').unwrap_or(rest);
        Ok(number)
    }

    fn shown(&self) -> String {
        match self.rest.trim_start_matches(' ').chars().take(20).collect::<String>() {
            text if text.is_empty() => "its end".to_owned(),
            text => format!("`{}`", text.escape_debug()),
        }
    }
}

fn dtype_of(descr: &Descr) -> Option<Dtype> {
    match descr {
        Descr::Plain(text) => match text.as_str() {
            "<f4" => Some(Dtype::F32),
            "<f8" => Some(Dtype::F64),
            "<i4" => Some(Dtype::I32),
            "<i8" => Some(Dtype::I64),
            "|u1" | "<u1" | "u1" => Some(Dtype::U8),
            "<u2" => Some(Dtype::U16),
            "<u4" => Some(Dtype::U32),
            "|b1" | "<b1" | "b1" => Some(Dtype::Bool),
            _ => None,
        },
        Descr::Structured => None,
    }
}

/// What a refused type is, in words.
fn describe(descr: &Descr) -> String {
    let Descr::Plain(text) = descr else {
        return "a structured type with named fields".to_owned();
    };
    let shown: String = text.chars().take(20).collect();
    let kind = match text.trim_start_matches(['<', '>', '|', '=']).chars().next() {
        _ if text.starts_with('>') => "big-endian numbers",
        Some('O') => "Python objects",
        Some('U' | 'S' | 'a') => "text",
        Some('M' | 'm') => "dates or times",
        Some('c') => "complex numbers",
        _ => "another type",
    };
    format!("{kind} (`{}`)", shown.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::{Descr, Header};

    fn parse(text: &str) -> Result<Header, String> {
        Header::parse(text)
    }

    #[test]
    fn headers_parse_with_keys_in_any_order_and_with_the_forms_of_old_pythons() {
        let expected = Header { descr: Descr::Plain("<f4".into()), fortran_order: false, shape: vec![3, 4] };
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }   \n",
            "{'shape': (3,4), 'descr': \"<f4\", 'fortran_order': False}",
            "{'shape': (3L, 4L), 'descr': '<f4', 'fortran_order': False, }\n",
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&expected));
        }
    }

    #[track_caller]
    fn check_refused(text: &str, reason: &str) {
        let error = parse(text).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn headers_that_break_the_format_are_refused_with_what_was_found() {
        check_refused("", "found its end, expected `{`");
        check_refused("{'descr': '<f4', 'fortran_order': False, }", "`shape` is missing");
        check_refused("{'descr': '<f4', 'descr': '<f4', }", "`descr` comes twice");
        check_refused("{'descr': '<f4', 'color': 3}", "unknown key `color`");
        check_refused("{'descr': '<f4", "not closed");
        check_refused("{'shape': (3, -4)}", "found `-4)}`, expected an axis length");
        check_refused("{'shape': (99999999999999999999,)}", "expected an axis length");
        check_refused("{'fortran_order': 0}", "expected `False`");
        check_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)} import os", "after its end");
        let many = format!("{{'shape': ({})}}", "1,".repeat(65));
        check_refused(&many, "more than 64 axes");
    }
}
