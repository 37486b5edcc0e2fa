use std::path::Path;

use super::{DataFile, ReadError, Wanted};
use crate::data::array::{Array, Dtype};
use crate::data::convert::{Scaling, floats};
use crate::data::fixtures::{
    CompressionMethod, Folder, gzip, idx, npy, npy_f32, npy_i64, npy_with_header, npz,
};

fn read(path: &Path, wanted: Wanted<'_>) -> Result<Array, ReadError> {
    DataFile::open(path)?.array(wanted)
}

fn numbers(array: &Array) -> Vec<f64> {
    let mut all = Vec::new();
    for row in 0..array.rows {
        let mut example = vec![0.0; array.example_len()];
        floats(&mut example, array.dtype, array.row(row), &Scaling::new(1.0, vec![]), |value| value);
        all.extend(example);
    }
    all
}

#[track_caller]
fn check_read(path: &Path, wanted: Wanted<'_>, dtype: Dtype, shape: &[usize], expected: &[f64]) {
    let array = read(path, wanted).unwrap();
    let found: Vec<usize> = std::iter::once(array.rows).chain(array.example_shape.iter().copied()).collect();
    assert_eq!((array.dtype, found.as_slice()), (dtype, shape));
    assert_eq!(numbers(&array), expected);
}

/// Each text must be in the message or in that of its cause.
#[track_caller]
fn check_refused(path: &Path, wanted: Wanted<'_>, texts: &[&str]) {
    let error = anyhow::Error::from(read(path, wanted).unwrap_err());
    let message = format!("{error:#}");
    let name = path.file_name().unwrap().to_str().unwrap();
    for text in texts.iter().chain(&[name]) {
        assert!(message.contains(text), "`{text}` is not in: {message}");
    }
}

fn numpy_file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

#[test]
fn files_that_numpy_wrote_are_read_whether_stored_or_deflated() {
    for name in ["stored.npz", "deflated.npz"] {
        let path = numpy_file(name);
        let ramp = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25];
        check_read(&path, Wanted::Named("f32"), Dtype::F32, &[3, 2], &ramp);
        check_read(&path, Wanted::Named("f64"), Dtype::F64, &[3, 2], &ramp);
        check_read(&path, Wanted::Named("i32"), Dtype::I32, &[3], &[-1.0, 0.0, 1.0]);
        check_read(&path, Wanted::Named("i64"), Dtype::I64, &[3], &[-1.0, 0.0, 1.0]);
        check_read(&path, Wanted::Named("u8"), Dtype::U8, &[3], &[0.0, 128.0, 255.0]);
        check_read(&path, Wanted::Named("bool"), Dtype::Bool, &[3], &[1.0, 0.0, 1.0]);
    }
}

#[test]
fn what_can_not_be_trained_on_is_refused_with_its_name_and_a_remedy() {
    for name in ["stored.npz", "deflated.npz"] {
        let path = numpy_file(name);
        check_refused(&path, Wanted::Named("fortran"), &["`fortran`", "column-major", "ascontiguousarray"]);
        check_refused(&path, Wanted::Named("big_endian"), &["big-endian numbers (`>f4`)", "astype"]);
        check_refused(&path, Wanted::Named("half"), &["another type (`<f2`)", "expected float32"]);
        check_refused(&path, Wanted::Named("text"), &["text (`<U1`)"]);
        check_refused(&path, Wanted::Named("structured"), &["a structured type with named fields"]);
        check_refused(&path, Wanted::Named("f3"), &["no array or column `f3`", "`f32`"]);
        check_refused(&path, Wanted::Only, &["several arrays", "`array`"]);
    }
}

#[test]
fn stored_members_are_used_in_place_and_deflated_ones_in_memory() {
    let folder = Folder::new();
    let x = npy_f32("(256,)", &[1.0; 256]);
    for (method, in_place) in [(CompressionMethod::Stored, true), (CompressionMethod::Deflated, false)] {
        let path = folder.write("x.npz", npz(method, &[("x", x.clone())]));
        let file = DataFile::open(&path).unwrap();
        let row = file.array(Wanted::Named("x")).unwrap().row(0).as_ptr();
        assert_eq!(file.bytes.as_ptr_range().contains(&row), in_place, "{method}");
    }
}

#[test]
fn npy_files_of_every_version_and_in_either_order_of_one_axis_are_read() {
    let folder = Folder::new();
    let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1, 1), }\n";
    let data = [1.0_f32.to_le_bytes(), 2.0_f32.to_le_bytes()].concat();
    let first = folder.write("a.npy", npy_with_header(header, &data));
    check_read(&first, Wanted::Only, Dtype::F32, &[2, 1, 1], &[1.0, 2.0]);
    for version in [2, 3] {
        let mut file = vec![0x93, b'N', b'U', b'M', b'P', b'Y', version, 0];
        file.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
        file.extend(header.as_bytes());
        file.extend(&data);
        check_read(&folder.write("b.npy", file), Wanted::Only, Dtype::F32, &[2, 1, 1], &[1.0, 2.0]);
    }
}

#[test]
fn npy_files_whose_length_is_not_what_the_header_says_are_refused_with_both_numbers() {
    let folder = Folder::new();
    let whole = npy_f32("(3, 2)", &[0.0; 6]);
    let short = folder.write("short.npy", &whole[..whole.len() - 1]);
    check_refused(
        &short,
        Wanted::Only,
        &["shorter than", "float32 of shape (3, 2) takes 24 bytes, found 23"],
    );
    let long = folder.write("long.npy", [whole.as_slice(), &[0]].concat());
    check_refused(&long, Wanted::Only, &["longer than", "takes 24 bytes, found 25"]);
    let scalar = folder.write("scalar.npy", npy_f32("()", &[0.0]));
    check_refused(&scalar, Wanted::Only, &["no axis"]);
    let empty = folder.write("empty.npy", npy_f32("(0, 5)", &[]));
    check_refused(&empty, Wanted::Only, &["is empty: its shape is (0, 5)"]);
    let endless = folder.write("endless.npy", npy_f32("(9999999999999999999, 0)", &[]));
    check_refused(&endless, Wanted::Only, &["is empty"]);
    let huge = folder.write("huge.npy", npy_f32("(4294967296, 4294967296)", &[0.0]));
    check_refused(&huge, Wanted::Only, &["impossible shape (4294967296, 4294967296)"]);
    let header = folder.write("header.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{");
    check_refused(&header, Wanted::Only, &["4294967295 bytes, expected at most 10000"]);
    let nothing = folder.write("nothing.npy", b"");
    check_refused(&nothing, Wanted::Only, &["npy header is damaged", "found `` at the start"]);
    let version = folder.write("version.npy", b"\x93NUMPY\x04\x00..");
    check_refused(&version, Wanted::Only, &["found version 4.0"]);
    let binary = folder.write("binary.npy", b"\x93NUMPY\x01\x00\x02\x00\xff\xfe");
    check_refused(&binary, Wanted::Only, &["it is not text"]);
    let named = folder.write("named.npy", whole);
    check_refused(&named, Wanted::Named("x"), &["one array without a name"]);
}

#[test]
fn every_truncation_of_every_format_is_refused_without_a_panic() {
    let folder = Folder::new();
    let x = npy_f32("(3, 2)", &[1.0; 6]);
    let pixels = idx(0x08, &[3, 2], &[7; 6]);
    let cases: [(&str, Vec<u8>, Wanted<'_>); 5] = [
        ("a.npy", x.clone(), Wanted::Only),
        ("a.npz", npz(CompressionMethod::Stored, &[("x", x.clone())]), Wanted::Named("x")),
        ("b.npz", npz(CompressionMethod::Deflated, &[("x", x)]), Wanted::Named("x")),
        ("a.idx2", pixels.clone(), Wanted::Only),
        ("a.idx2.gz", gzip(&pixels), Wanted::Only),
    ];
    for (name, bytes, wanted) in cases {
        assert!(read(&folder.write(name, &bytes), wanted).is_ok(), "{name}");
        for len in 0..bytes.len() {
            let result = read(&folder.write(name, &bytes[..len]), wanted);
            // The end of a gzip file is only its own checksum, which must be missed all the same.
            assert!(result.is_err(), "{name} cut to {len} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn no_flipped_byte_of_an_archive_gives_other_numbers_unnoticed() {
    let folder = Folder::new();
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let whole = npz(method, &[("x", npy_f32("(3, 2)", &[1.0; 6])), ("y", npy_i64("(3,)", &[0, 1, 2]))]);
        for place in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[place] ^= flip;
                let path = folder.write("x.npz", bytes);
                let Ok(file) = DataFile::open(&path) else { continue };
                if file.fingerprint("x.npz").is_err() {
                    continue;
                }
                // What is left are bytes without meaning here: dates, attributes, versions.
                if let (Ok(x), Ok(y)) = (file.array(Wanted::Named("x")), file.array(Wanted::Named("y"))) {
                    assert_eq!(numbers(&x), [1.0; 6], "{method}, byte {place}");
                    assert_eq!(numbers(&y), [0.0, 1.0, 2.0], "{method}, byte {place}");
                }
            }
        }
    }
}

#[test]
fn a_damaged_stored_member_is_noticed_while_the_fingerprint_is_taken() {
    let folder = Folder::new();
    let mut bytes =
        npz(CompressionMethod::Stored, &[("x", npy_f32("(1,)", &[1.0])), ("y", npy_i64("(1,)", &[1]))]);
    let sound = DataFile::open(&folder.write("x.npz", &bytes)).unwrap().fingerprint("x.npz").unwrap();
    assert_eq!(sound.crc32, format!("{:08x}", crc32fast::hash(&bytes)));
    assert_eq!(sound.size_bytes, bytes.len() as u64);
    let place = bytes.windows(4).position(|window| window == 1.0_f32.to_le_bytes()).unwrap();
    bytes[place] ^= 1;
    let error = DataFile::open(&folder.write("x.npz", &bytes)).unwrap().fingerprint("x.npz").unwrap_err();
    assert!(matches!(&error, ReadError::Checksum { .. }));
    assert!(error.to_string().contains("array `x` is damaged"), "{error}");
}

/// Overwrites the sizes of the only member in the archive's directory.
fn npz_with_sizes(method: CompressionMethod, packed: Option<u32>, unpacked: u32) -> Vec<u8> {
    let mut bytes = npz(method, &[("x", npy_f32("(3,)", &[1.0; 3]))]);
    let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    if let Some(packed) = packed {
        bytes[directory + 20..directory + 24].copy_from_slice(&packed.to_le_bytes());
    }
    bytes[directory + 24..directory + 28].copy_from_slice(&unpacked.to_le_bytes());
    bytes
}

#[test]
fn archives_that_lie_about_sizes_are_refused_before_anything_is_allocated() {
    let folder = Folder::new();
    let bomb = folder.write("bomb.npz", npz_with_sizes(CompressionMethod::Deflated, None, 4_000_000_000));
    check_refused(&bomb, Wanted::Named("x"), &["into 4000000000, which deflate can not do"]);
    let more = folder.write("more.npz", npz_with_sizes(CompressionMethod::Deflated, None, 100));
    check_refused(&more, Wanted::Named("x"), &["unpacks to 80 bytes, the directory says 100"]);
    let less = folder.write("less.npz", npz_with_sizes(CompressionMethod::Deflated, None, 70));
    check_refused(&less, Wanted::Named("x"), &["larger than its declared uncompressed size"]);
    let beyond = folder.write("beyond.npz", npz_with_sizes(CompressionMethod::Stored, Some(9_999), 9_999));
    check_refused(&beyond, Wanted::Named("x"), &["claims 9999 bytes, which do not fit"]);
    let short = folder.write("short.npz", npz_with_sizes(CompressionMethod::Stored, Some(70), 70));
    check_refused(&short, Wanted::Named("x"), &["array `x`"]);
    let text =
        folder.write("text.npz", "this is not an archive, however long the text may be that stands here");
    check_refused(&text, Wanted::Named("x"), &["not a sound .npz"]);
}

#[test]
fn members_that_overlap_are_refused() {
    let folder = Folder::new();
    let x = npy_f32("(1,)", &[1.0]);
    let mut bytes = npz(CompressionMethod::Stored, &[("x", x.clone()), ("y", x)]);
    let entries: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"PK\x01\x02")).collect();
    // The second entry of the directory leads to the data of the first.
    bytes[entries[1] + 42..entries[1] + 46].copy_from_slice(&0_u32.to_le_bytes());
    let path = folder.write("x.npz", bytes);
    check_refused(&path, Wanted::Named("y"), &["overlaps the array `x`"]);
}

#[test]
fn names_that_are_not_utf_8_do_no_harm() {
    let folder = Folder::new();
    let x = npy_f32("(1,)", &[1.0]);
    let mut bytes = npz(CompressionMethod::Stored, &[("x", x.clone()), ("yy", x)]);
    for at in 0..bytes.len() {
        if bytes[at..].starts_with(b"yy.npy") {
            bytes[at] = 0xff;
        }
    }
    let path = folder.write("x.npz", bytes);
    check_read(&path, Wanted::Named("x"), Dtype::F32, &[1], &[1.0]);
    check_refused(&path, Wanted::Named("yy"), &["\u{fffd}y"]);
}

#[test]
fn csv_columns_are_read_by_name_as_integers_where_all_are() {
    let folder = Folder::new();
    for (name, gz) in [("a.csv", false), ("a.csv.gz", true)] {
        let text = b"\xef\xbb\xbfid, a ,\"b\",label\n1,0.5,-2,3\n\n2,1e3,4,0\n".to_vec();
        let path = folder.write(name, if gz { gzip(&text) } else { text });
        let columns = ["b".to_owned(), "a".to_owned()];
        check_read(&path, Wanted::Columns(&columns), Dtype::F64, &[2, 2], &[-2.0, 0.5, 4.0, 1000.0]);
        check_read(&path, Wanted::Columns(&columns[..1]), Dtype::I64, &[2, 1], &[-2.0, 4.0]);
        check_read(&path, Wanted::Named("label"), Dtype::I64, &[2], &[3.0, 0.0]);
        check_read(&path, Wanted::Named("id"), Dtype::I64, &[2], &[1.0, 2.0]);
    }
}

#[test]
fn csv_files_that_are_no_table_of_numbers_are_refused_with_line_and_column() {
    let folder = Folder::new();
    let check = |text: &[u8], texts: &[&str]| {
        check_refused(&folder.write("a.csv", text), Wanted::Named("a"), texts);
    };
    check(b"a,b\n1,2\n3\n", &["line 3: found 1 fields, expected 2"]);
    check(b"a,b\n1,2\n3,4,5\n", &["line 3: found 3 fields, expected 2"]);
    check(b"a,b\n1,2\nred,4\n", &["line 3, column `a`: found \"red\", expected a number"]);
    check(b"a,b\n1,2\n,4\n", &["line 3, column `a`: found nothing"]);
    check(b"b,c\n1,2\n", &["no array or column `a`; it has: `b`, `c`"]);
    check(b"a,a\n1,2\n", &["more than one array or column `a`; rename one of them"]);
    check_refused(
        &folder.write("a.csv", b"0,5,0\n1,2,3\n"),
        Wanted::Named("0"),
        &["more than one array or column `0`", "put a line with the names of the columns above it"],
    );
    check(b"a,b\n", &["no row after the header"]);
    check(b"", &["no columns"]);
    check(b"a\n1\n\xff\n", &["line 3", "no text in UTF-8"]);
    let long = format!("a\n{}\n", "x".repeat(100_000));
    let error = read(&folder.write("long.csv", long), Wanted::Named("a")).unwrap_err().to_string();
    assert!(error.len() < 500, "{} characters", error.len());
    let torn = gzip(b"a\n1\n2\n3\n");
    check_refused(&folder.write("torn.csv.gz", &torn[..torn.len() - 9]), Wanted::Named("a"), &["as CSV"]);
}

#[test]
fn idx_files_are_read_plain_and_packed_in_every_type() {
    let folder = Folder::new();
    let pixels = idx(0x08, &[2, 1, 2], &[1, 2, 3, 255]);
    for (name, bytes) in [("images-idx3-ubyte", pixels.clone()), ("images.idx3-ubyte.gz", gzip(&pixels))] {
        check_read(&folder.write(name, bytes), Wanted::Only, Dtype::U8, &[2, 1, 2], &[1.0, 2.0, 3.0, 255.0]);
    }
    let wide = [1.5_f32.to_be_bytes(), (-2.0_f32).to_be_bytes()].concat();
    check_read(&folder.write("f.idx", idx(0x0d, &[2], &wide)), Wanted::Only, Dtype::F32, &[2], &[1.5, -2.0]);
    let wide = [1.5_f64.to_be_bytes(), (-2.0_f64).to_be_bytes()].concat();
    check_read(&folder.write("d.idx", idx(0x0e, &[2], &wide)), Wanted::Only, Dtype::F64, &[2], &[1.5, -2.0]);
    let wide = [7_i32.to_be_bytes(), (-7_i32).to_be_bytes()].concat();
    check_read(&folder.write("i.idx", idx(0x0c, &[2], &wide)), Wanted::Only, Dtype::I32, &[2], &[7.0, -7.0]);
    // Without a telling name the content decides.
    check_read(&folder.write("plain", idx(0x08, &[1], &[9])), Wanted::Only, Dtype::U8, &[1], &[9.0]);
}

#[test]
fn idx_files_that_lie_or_break_the_format_are_refused() {
    let folder = Folder::new();
    let check = |bytes: &[u8], texts: &[&str]| {
        check_refused(&folder.write("a.idx", bytes), Wanted::Only, texts);
        check_refused(&folder.write("a.idx.gz", gzip(bytes)), Wanted::Only, texts);
    };
    check(&idx(0x08, &[3], &[1, 2]), &["shorter than", "takes 3 bytes, found 2"]);
    check(&idx(0x08, &[3], &[1, 2, 3, 4]), &["longer than", "takes 3 bytes, found 4"]);
    check(&idx(0x08, &[0, 4], &[]), &["is empty"]);
    check(&idx(0x09, &[1], &[1]), &["holds int8"]);
    check(&idx(0x07, &[1], &[1]), &["found element type 0x07"]);
    check(&idx(0x08, &[u32::MAX; 4], &[1]), &["impossible shape"]);
    check(&[0, 0, 8, 200, 1], &["ends inside the header"]);
    check(&[9, 9, 8, 1, 0, 0, 0, 1, 1], &["expected two zero bytes"]);
    let bomb = gzip(&idx(0x08, &[4_000_000_000], &[1]));
    check_refused(&folder.write("bomb.idx.gz", bomb), Wanted::Only, &["which deflate can not do"]);
    check_refused(&folder.write("no.idx.gz", b"no gzip at all"), Wanted::Only, &["damaged"]);
}

#[test]
fn files_that_are_missing_or_of_no_known_format_are_refused_with_what_would_do() {
    let folder = Folder::new();
    check_refused(&folder.path().join("none.npz"), Wanted::Named("x"), &["can not open", "No such file"]);
    check_refused(
        &folder.write("a.parquet", b"PAR1"),
        Wanted::Named("x"),
        &["none of the known data formats"],
    );
    check_refused(&folder.write("a.npy.gz", b""), Wanted::Only, &["compressed as a whole", "gunzip"]);
    std::fs::create_dir(folder.path().join("dir.npz")).unwrap();
    check_refused(&folder.path().join("dir.npz"), Wanted::Named("x"), &["is a folder"]);
    check_refused(Path::new("/dev/null"), Wanted::Only, &["a pipe, socket or device"]);
    let named = folder.write("one.npy", npy("|u1", "(1,)", &[1]));
    check_refused(&named, Wanted::Columns(&["a".to_owned()]), &["name columns for", "remove the key"]);
}
