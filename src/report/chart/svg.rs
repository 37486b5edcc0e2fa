//! A scene as SVG 1.1.

use super::figure::Colour;
use super::font::FAMILIES;
use super::scene::{Anchor, Item, Scene, Shape, Stroke};
use std::fmt::Write as _;

/// Whether the picture is a file, or a part of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Of its own, with the head of an XML file.
    File,
    /// In HTML, as wide as the page gives it.
    Page,
}

/// The picture as text. Whatever the texts in it are, it is well-formed XML.
#[must_use]
pub fn svg(scene: &Scene, place: Place) -> String {
    let (width, height) = (scene.width, scene.height);
    let mut out = String::new();
    if place == Place::File {
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    }
    let size = match place {
        Place::File => format!("width=\"{width}\" height=\"{height}\""),
        Place::Page => "width=\"100%\"".to_owned(),
    };
    _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" {size} viewBox=\"0 0 {width} {height}\" role=\"img\" \
         font-family=\"{FAMILIES}\" stroke-linejoin=\"round\" fill=\"none\">\n<title>{}</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>",
        escaped(&scene.title),
        hex(Colour::WHITE)
    );
    scene.items.iter().for_each(|item| write_item(&mut out, item));
    out.push_str("</svg>\n");
    out
}

fn write_item(out: &mut String, Item { class, words, shape }: &Item) {
    let (tag, text) = match shape {
        Shape::Path { points, stroke } => {
            (format!("polyline class=\"{class}\" points=\"{}\" {}", listed(points), drawn(stroke)), None)
        }
        Shape::Area { points, colour, opacity } => {
            let (points, colour) = (listed(points), hex(*colour));
            let opacity = number(*opacity);
            (
                format!(
                    "polygon class=\"{class}\" points=\"{points}\" fill=\"{colour}\" fill-opacity=\"{opacity}\""
                ),
                None,
            )
        }
        Shape::Circle { at, radius, fill, stroke } => {
            let fill = fill.map_or("none".to_owned(), hex);
            let (x, y, radius) = (number(at.0), number(at.1), number(*radius));
            let edge = drawn(stroke);
            (
                format!(
                    "circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" fill=\"{fill}\" {edge}"
                ),
                None,
            )
        }
        Shape::Text { at, text, size, colour, anchor } => {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let (x, y, size, colour) = (number(at.0), number(at.1), number(*size), hex(*colour));
            let tag = format!(
                "text class=\"{class}\" x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"{colour}\" text-anchor=\"{anchor}\""
            );
            (tag, Some(text))
        }
    };
    let name = tag.split(' ').next().unwrap_or_default().to_owned();
    let words = if words.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(words)) };
    let text = text.map(|text| escaped(text)).unwrap_or_default();
    _ = if words.is_empty() && text.is_empty() {
        writeln!(out, "<{tag}/>")
    } else {
        writeln!(out, "<{tag}>{words}{text}</{name}>")
    };
}

fn listed(points: &[(f64, f64)]) -> String {
    let mut text = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        _ = write!(text, "{}{},{}", if index == 0 { "" } else { " " }, number(*x), number(*y));
    }
    text
}

fn drawn(Stroke { colour, width, opacity, dash }: &Stroke) -> String {
    let mut text = format!("stroke=\"{}\" stroke-width=\"{}\"", hex(*colour), number(*width));
    if *opacity < 1.0 {
        _ = write!(text, " stroke-opacity=\"{}\"", number(*opacity));
    }
    if let Some((on, off)) = dash {
        _ = write!(text, " stroke-dasharray=\"{} {}\"", number(*on), number(*off));
    }
    text
}

fn hex(Colour(red, green, blue): Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// A hundredth of a pixel is not seen.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A text for XML and HTML, in elements and attributes. Characters that XML does not have become the replacement character.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' => out.push(letter),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Place, escaped, svg};
    use crate::report::chart::scene::Scene;

    #[test]
    fn no_text_gets_out_of_its_element() {
        assert_eq!(
            escaped("<b a=\"x\">&'\u{0}\u{8}ü"),
            "&lt;b a=&quot;x&quot;&gt;&amp;&#39;\u{fffd}\u{fffd}ü"
        );
        let scene = Scene { width: 10, height: 20, title: "</title><script>".to_owned(), items: Vec::new() };
        let text = svg(&scene, Place::File);
        assert!(!text.contains("<script>") && text.contains("viewBox=\"0 0 10 20\""), "{text}");
    }
}
