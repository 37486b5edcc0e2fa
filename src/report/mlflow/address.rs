//! How HTTP writes addresses, names in them, and secrets.

use ureq::http;

/// An address without the name and the secret that may stand in it.
pub(super) fn shown(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    let host_end = rest.find('/').unwrap_or(rest.len());
    let host_start = rest.get(..host_end).and_then(|host| host.rfind('@')).map_or(0, |at| at + 1);
    format!("{scheme}://{}", rest.get(host_start..).unwrap_or_default())
}

/// Whether this is the address of a server that HTTP reaches.
pub(super) fn is_address(uri: &str) -> bool {
    let Ok(parsed) = uri.parse::<http::Uri>() else { return false };
    let is_web = matches!(parsed.scheme_str(), Some("http" | "https"));
    // What follows the host is nothing, or a number behind a colon.
    let has_host = parsed.authority().is_some_and(|authority| {
        let host = authority.host();
        !host.is_empty() && (authority.as_str().ends_with(host) || authority.port_u16().is_some())
    });
    is_web && has_host && parsed.query().is_none()
}

/// What `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, say to a server.
pub(super) fn authorization() -> Option<String> {
    let variable = |name| std::env::var(name).ok().filter(|text: &String| !text.is_empty());
    if let Some(token) = variable("MLFLOW_TRACKING_TOKEN") {
        return Some(format!("Bearer {token}"));
    }
    let (name, password) = (variable("MLFLOW_TRACKING_USERNAME")?, variable("MLFLOW_TRACKING_PASSWORD")?);
    Some(format!("Basic {}", base64(format!("{name}:{password}").as_bytes())))
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let padded = [0, 1, 2].map(|index| u32::from(chunk.get(index).copied().unwrap_or(0)));
        let word = padded.iter().fold(0, |word, byte| word << 8 | byte);
        for digit in 0..4_u32 {
            let index = (word >> (18 - 6 * digit) & 63) as usize;
            let letter = DIGITS.get(index).copied().unwrap_or(b'=');
            text.push(if digit as usize <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// `text` as a value in the query of a URI, RFC 3986.
pub(super) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{base64, escaped, is_address, shown};

    #[test]
    fn names_and_secrets_are_written_as_the_standards_say() {
        assert_eq!(escaped("a b/ü&c~"), "a%20b%2F%C3%BC%26c~");
        // The examples of RFC 4648.
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }

    #[test]
    fn only_what_http_reaches_is_an_address_and_secrets_in_it_are_not_shown() {
        for (uri, is_one) in [
            ("http://127.0.0.1:5000", true),
            ("https://mlflow.example.org/team/a", true),
            ("http://user:secret@host", true),
            ("127.0.0.1:5000", false),
            ("databricks", false),
            ("file:///tmp/mlruns", false),
            ("sqlite:///mlflow.db", false),
            ("http://", false),
            ("http://host:port", false),
            ("http://host/?a=b", false),
        ] {
            assert_eq!(is_address(uri), is_one, "{uri}");
        }
        assert_eq!(shown("http://user:se@cret@host:1/a@b"), "http://host:1/a@b");
        assert_eq!(shown("http://host:1/a@b"), "http://host:1/a@b");
    }
}
