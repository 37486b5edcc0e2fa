//! What a fetch tells while it works: data first, and the lines on stderr that people see.

use std::path::PathBuf;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};

/// Something a person who waits wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Another process is fetching into the same cache; this one waits for it.
    Waiting {
        /// The file that the other process has locked.
        lock: PathBuf,
    },
    /// A package is about to be downloaded.
    Downloading {
        /// Its name on the package index.
        project: &'static str,
        /// Its version.
        version: &'static str,
        /// Size of the download.
        size_bytes: u64,
        /// Where its libraries will be.
        folder: PathBuf,
    },
    /// So much of the package has arrived.
    Downloaded {
        /// At most the size of the download.
        done_bytes: u64,
    },
    /// The package has arrived, its checksum is right, and its libraries are being unpacked.
    Unpacking {
        /// The package.
        project: &'static str,
    },
    /// Everything is in place.
    Installed {
        /// The folder with the libraries.
        folder: PathBuf,
    },
}

/// Who is told. Called from the thread that fetches and from one that watches the download.
pub trait Announce: Sync {
    /// Takes one event; must not block.
    fn tell(&self, event: Event);
}

/// Lines on stderr, and on a terminal a bar with rate and time left while a package arrives.
#[derive(Debug, Default)]
pub struct ToStderr {
    bar: Mutex<Option<ProgressBar>>,
}

impl Announce for ToStderr {
    fn tell(&self, event: Event) {
        let Ok(mut bar) = self.bar.lock() else { return };
        match event {
            Event::Downloaded { done_bytes } => {
                if let Some(bar) = bar.as_ref() {
                    bar.set_position(done_bytes);
                }
                return;
            }
            Event::Downloading { size_bytes, .. } => {
                eprintln!("{}", line(&event));
                let style =
                    ProgressStyle::with_template("  {bytes}/{total_bytes} {bytes_per_sec}, {eta} left");
                *bar = style.ok().map(|style| ProgressBar::new(size_bytes).with_style(style));
                return;
            }
            _ => {}
        }
        if let Some(finished) = bar.take() {
            finished.finish_and_clear();
        }
        eprintln!("{}", line(&event));
    }
}

/// The event in words.
fn line(event: &Event) -> String {
    match event {
        Event::Waiting { lock } => {
            format!("waiting for another process that is fetching ONNX Runtime (it holds {})", lock.display())
        }
        Event::Downloading { project, version, size_bytes, folder } => format!(
            "fetching {project} {version} ({}) through `python3 -m pip download` into {}, once (--offline forbids it)",
            megabytes(*size_bytes),
            folder.display()
        ),
        Event::Downloaded { done_bytes } => megabytes(*done_bytes),
        Event::Unpacking { project } => format!("checksum of {project} is right; unpacking"),
        Event::Installed { folder } => format!("installed in {}", folder.display()),
    }
}

/// A size in words: `24 MB`, `1.4 GB` (powers of 1000, as package indexes show them).
pub fn megabytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", (bytes + 500_000) / 1_000_000),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_before_a_download_says_what_and_where_and_how_to_forbid_it() {
        let event = Event::Downloading {
            project: "onnxruntime",
            version: "1.31.1",
            size_bytes: 23_760_988,
            folder: "/cache/cpu".into(),
        };
        let line = line(&event);
        for part in ["onnxruntime 1.31.1", "24 MB", "/cache/cpu", "--offline", "pip download"] {
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn sizes_are_rounded_in_units_a_person_reads() {
        assert_eq!(megabytes(14_632), "15 kB");
        assert_eq!(megabytes(23_760_988), "24 MB");
        assert_eq!(megabytes(1_408_607_085), "1.4 GB");
    }
}
