//! One HTML file that tells all of a run: it needs no network and no scripts.
//!
//! Here: the sections of the page and how they look. Not here: reading the run; what is shown comes as [`Contents`].

mod sections;
mod timeline;

use super::chart::svg::escaped;
use super::recorded::Recorded;
use std::fmt::Write as _;
use trainer_runtime::clock;

/// Everything that the page shows.
#[derive(Debug)]
pub struct Contents {
    /// The name of the run.
    pub name: String,
    /// Where it is.
    pub work_dir: String,
    /// Its journal.
    pub recorded: Recorded,
    /// How it stands, in words.
    pub standing: String,
    /// Every setting with its value and its default, as TOML, by path; a default of `None` depends on others.
    pub settings: Vec<Setting>,
    /// The curves as SVG.
    pub curves: String,
    /// The confusion matrix as the run wrote it, if it did.
    pub confusion_csv: Option<String>,
    /// What wrote the page.
    pub program: String,
}

/// A setting of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its path.
    pub path: String,
    /// Its value.
    pub value: String,
    /// Its default, where it is another value.
    pub default: Option<String>,
}

const STYLE: &str = "\
:root{color-scheme:light}\
body{font:15px/1.5 system-ui,'DejaVu Sans',Verdana,sans-serif;color:#222;background:#fff;max-width:1040px;margin:2em auto;padding:0 1em}\
h1{font-size:1.6em;margin:0 0 .2em}h2{font-size:1.15em;margin:2em 0 .5em;border-bottom:1px solid #ddd;padding-bottom:.2em}\
table{border-collapse:collapse;font-size:.92em}td,th{padding:.2em .8em .2em 0;text-align:left;vertical-align:top}\
th{color:#666;font-weight:600}tbody tr:nth-child(even){background:#f6f6f6}.n td,.n th{text-align:right;font-variant-numeric:tabular-nums}\
.best{font-weight:700}.muted{color:#666}code,.code{font-family:ui-monospace,'DejaVu Sans Mono',monospace;font-size:.92em}\
.wide{overflow-x:auto}.wide svg{height:auto;display:block}.confusion td{text-align:right;padding:.25em .6em;border:1px solid #eee;min-width:2em}\
.confusion th{padding:.25em .6em;text-align:right}details>summary{cursor:pointer}ul{padding-left:1.2em}\
@media print{body{margin:0}}";

/// The page.
#[must_use]
pub fn page(contents: &Contents) -> String {
    let mut out = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta charset=\"utf-8\"/>\n",
    );
    let name = escaped(&contents.name);
    _ = writeln!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{name} - trainer</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n<p class=\"muted\">{}</p>",
        escaped(&contents.standing)
    );
    sections::summary(&mut out, contents);
    section(&mut out, "Curves", &format!("<div class=\"wide\">{}</div>\n", contents.curves));
    sections::confusion(&mut out, contents);
    sections::epochs(&mut out, &contents.recorded.history);
    timeline::timeline(&mut out, &contents.recorded);
    sections::settings(&mut out, &contents.settings);
    sections::checkpoints(&mut out, &contents.recorded);
    sections::environment(&mut out, contents);
    _ = writeln!(out, "<p class=\"muted\">written by {}</p>\n</body>\n</html>", escaped(&contents.program));
    out
}

/// A section; `body` is HTML.
fn section(out: &mut String, heading: &str, body: &str) {
    _ = writeln!(out, "<section>\n<h2>{heading}</h2>\n{body}</section>");
}

/// A table of names and values; both are plain text.
fn pairs(rows: &[(&str, String)]) -> String {
    let mut out = String::from("<table>\n");
    for (name, value) in rows {
        _ = writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", escaped(name), escaped(value));
    }
    out + "</table>\n"
}

/// A table with a heading row; all cells are plain text.
fn table(class: &str, heading: &[&str], rows: &[(bool, Vec<String>)]) -> String {
    let mut out = format!("<div class=\"wide\"><table class=\"{class}\">\n<thead><tr>");
    heading.iter().for_each(|name| _ = write!(out, "<th>{}</th>", escaped(name)));
    out.push_str("</tr></thead>\n<tbody>\n");
    for (is_best, cells) in rows {
        out.push_str(if *is_best { "<tr class=\"best\">" } else { "<tr>" });
        cells.iter().for_each(|cell| _ = write!(out, "<td>{}</td>", escaped(cell)));
        out.push_str("</tr>\n");
    }
    out + "</tbody></table></div>\n"
}

/// Seconds since 1970 as date and time in UTC.
fn utc(unix_s: f64) -> String {
    clock::utc(unix_s.clamp(0.0, 253_402_300_799.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn a_moment_has_its_date() {
        for (unix_s, date) in [
            (0.0, "1970-01-01 00:00:00 UTC"),
            (951_782_399.0, "2000-02-28 23:59:59 UTC"),
            (951_782_400.0, "2000-02-29 00:00:00 UTC"),
            (1_795_333_096.9, "2026-11-22 07:38:16 UTC"),
            (4_107_542_400.0, "2100-03-01 00:00:00 UTC"),
            (f64::MAX, "9999-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(unix_s), date);
        }
    }
}
