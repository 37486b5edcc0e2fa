//! The worked examples of `docs/formats.md`, so that tests hold the code against what the document says.

/// The bytes of the fenced block with this info string. Each of its lines has an offset, bytes, and behind a bar what
/// they are: `0008  01 00 00 00 | format version 1`.
pub(crate) fn example(info: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/formats.md");
    let document = std::fs::read_to_string(path).unwrap();
    let opening = format!("```{info}\n");
    let (_, block) = document.split_once(&opening).unwrap_or_else(|| panic!("no block {info:?}"));
    let (block, _) = block.split_once("```").unwrap();
    let mut bytes = Vec::new();
    for line in block.lines() {
        let (line, _) = line.split_once('|').unwrap_or_else(|| panic!("no bar in {line:?}"));
        let mut fields = line.split_whitespace();
        let offset = usize::from_str_radix(fields.next().unwrap(), 16).unwrap();
        assert_eq!(offset, bytes.len(), "{line:?}");
        bytes.extend(fields.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    bytes
}
