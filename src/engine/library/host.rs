//! What the search reads from the process: variables, the program's own path, the system's library folders.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The surroundings of a search, as plain values, so that a test describes its own instead of changing the process.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// `ORT_DYLIB_PATH`.
    pub ort_dylib_path: Option<OsString>,
    /// `XDG_CACHE_HOME`.
    pub xdg_cache_home: Option<OsString>,
    /// `HOME`.
    pub home: Option<OsString>,
    /// `PATH`, where the package client's Python is looked for.
    pub path: Option<OsString>,
    /// `LD_LIBRARY_PATH`.
    pub ld_library_path: Option<OsString>,
    /// The running program.
    pub executable: Option<PathBuf>,
    /// Folders that the dynamic loader searches by itself, in its order.
    pub system_folders: Vec<PathBuf>,
}

impl Host {
    /// The surroundings of this process.
    pub fn of_this_process() -> Self {
        Self {
            ort_dylib_path: env::var_os("ORT_DYLIB_PATH"),
            xdg_cache_home: env::var_os("XDG_CACHE_HOME"),
            home: env::var_os("HOME"),
            path: env::var_os("PATH"),
            ld_library_path: env::var_os("LD_LIBRARY_PATH"),
            executable: env::current_exe().ok(),
            system_folders: system_folders(Path::new("/")),
        }
    }

    /// This program's cache folder by the XDG Base Directory Specification, which ignores relative values; `None` if
    /// neither `XDG_CACHE_HOME` nor `HOME` names a folder.
    pub fn cache_folder(&self) -> Option<PathBuf> {
        let absolute = |value: &OsString| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
        let xdg = self.xdg_cache_home.as_ref().and_then(absolute);
        let home = || self.home.as_ref().and_then(absolute).map(|home| home.join(".cache"));
        xdg.or_else(home).map(|folder| folder.join("trainer"))
    }

    /// The Python that runs the package client: the first `python3`, else `python`, on `PATH`.
    pub fn python(&self) -> Option<PathBuf> {
        let folders: Vec<_> = env::split_paths(self.path.as_deref()?).collect();
        let first = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
        first("python3").or_else(|| first("python"))
    }

    /// The folders the dynamic loader would search for a library, in its order.
    pub fn loader_folders(&self) -> impl Iterator<Item = PathBuf> {
        let ours = self.ld_library_path.as_deref().map(env::split_paths);
        let ours = ours.into_iter().flatten().filter(|folder| !folder.as_os_str().is_empty());
        ours.chain(self.system_folders.iter().cloned())
    }
}

/// The folders of `/etc/ld.so.conf` and its includes below `root`, then the built-in ones of the usual distributions.
///
/// The loader itself reads a cache made from these files (`ldconfig`); reading the files finds the same libraries.
fn system_folders(root: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut read_configuration = |path: &Path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        folders
            .extend(lines.filter(|line| line.starts_with('/')).map(|line| root.join(line.trim_matches('/'))));
    };
    let mut included: Vec<PathBuf> = fs::read_dir(root.join("etc/ld.so.conf.d"))
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    included.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    included.sort();
    included.iter().for_each(|path| read_configuration(path));
    read_configuration(&root.join("etc/ld.so.conf"));

    let triplet = format!("usr/lib/{}-linux-gnu", env::consts::ARCH);
    folders.extend(
        ["usr/local/lib", triplet.as_str(), "usr/lib64", "usr/lib", "lib64", "lib"].map(|one| root.join(one)),
    );
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_cache(xdg: Option<&str>, home: Option<&str>, expected: Option<&str>) {
        let host =
            Host { xdg_cache_home: xdg.map(Into::into), home: home.map(Into::into), ..Host::default() };
        assert_eq!(host.cache_folder(), expected.map(PathBuf::from));
    }

    #[test]
    fn the_cache_folder_follows_xdg() {
        check_cache(Some("/c"), Some("/home/u"), Some("/c/trainer"));
        check_cache(None, Some("/home/u"), Some("/home/u/.cache/trainer"));
        check_cache(Some("relative"), Some("/home/u"), Some("/home/u/.cache/trainer"));
        check_cache(Some(""), None, None);
    }

    #[test]
    fn the_loaders_configuration_is_followed_before_the_usual_folders() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        fs::create_dir_all(etc.join("ld.so.conf.d")).unwrap();
        fs::write(etc.join("ld.so.conf"), "include /etc/ld.so.conf.d/*.conf\n/last # here\n").unwrap();
        fs::write(etc.join("ld.so.conf.d/b.conf"), "/opt/b/lib\n").unwrap();
        fs::write(etc.join("ld.so.conf.d/a.conf"), "# a comment\n/opt/a/lib/\n\n").unwrap();
        fs::write(etc.join("ld.so.conf.d/a.conf.disabled"), "/opt/no\n").unwrap();
        let found = system_folders(root.path());
        let expected = ["opt/a/lib", "opt/b/lib", "last", "usr/local/lib"].map(|one| root.path().join(one));
        assert_eq!(found.get(..4), Some(expected.as_slice()));
    }

    #[test]
    fn python3_anywhere_on_the_path_is_preferred_to_python() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(first.path().join("python"), "").unwrap();
        fs::write(second.path().join("python3"), "").unwrap();
        let path = env::join_paths([first.path(), second.path()]).unwrap();
        let host = Host { path: Some(path), ..Host::default() };
        assert_eq!(host.python(), Some(second.path().join("python3")));
        assert_eq!(Host::default().python(), None);
    }
}
