use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use super::*;

fn options(work_dir: &Path) -> Options {
    Options { work_dir: work_dir.to_path_buf(), json: true, offline: false, ort_lib: None }
}

/// A machine without any library, whose cache would be in `folder`, with or without something called python3.
fn bare_host(folder: &Path, with_python: bool) -> Host {
    if with_python {
        symlink("/bin/false", folder.join("python3")).unwrap();
    }
    let cache = folder.join("cache");
    Host { xdg_cache_home: Some(cache.into()), path: Some(folder.into()), ..Host::default() }
}

fn answer(options: &Options, host: &Host) -> (Value, String) {
    let mut json = Vec::new();
    let report = run(options, host, &mut json).unwrap();
    (serde_json::from_slice(&json).unwrap(), table(&report))
}

#[test]
fn without_a_library_it_says_what_would_be_fetched_and_fetches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let host = bare_host(folder.path(), true);
    let (json, text) = answer(&options(&folder.path().join("exp")), &host);
    assert_eq!(json["library"]["status"], "would_fetch");
    assert_eq!(json["library"]["version"], "1.31.1");
    assert_eq!(json["ready"], true);
    assert!(text.contains("the first run fetches ONNX Runtime 1.31.1"), "{text}");
    assert!(!folder.path().join("cache").exists() && !folder.path().join("exp").exists());
}

#[test]
fn what_would_keep_a_run_from_fetching_makes_it_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let (json, text) = answer(&options(folder.path()), &bare_host(folder.path(), false));
    assert_eq!((&json["library"]["status"], &json["ready"]), (&"missing".into(), &false.into()));
    assert!(text.contains("no python3 on PATH") && text.contains("cannot start here"), "{text}");

    let host = bare_host(folder.path(), true);
    let (json, text) = answer(&Options { offline: true, ..options(folder.path()) }, &host);
    assert_eq!((&json["library"]["status"], &json["ready"]), (&"missing".into(), &false.into()));
    assert!(text.contains("--offline forbids"), "{text}");

    let host = Host { xdg_cache_home: None, ..host };
    let (_, text) = answer(&options(folder.path()), &host);
    assert!(text.contains("XDG_CACHE_HOME"), "{text}");
}

#[test]
fn a_broken_library_is_reported_with_its_path_and_origin_and_the_rest_still_comes() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    fs::write(&library, "nothing").unwrap();
    let asked = Options { ort_lib: Some(library.clone()), ..options(folder.path()) };
    let (json, text) = answer(&asked, &Host::default());
    assert_eq!(json["library"]["status"], "unusable");
    assert_eq!(json["library"]["origin"], "--ort-lib");
    assert_eq!(json["library"]["path"], library.to_str().unwrap());
    assert!(json["library"]["problem"].as_str().unwrap().contains("not a shared library"));
    assert_eq!(json["ready"], false);
    assert!(text.contains("cannot be used") && text.contains("cores"), "{text}");
}

#[test]
fn a_named_library_that_is_not_there_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let asked = Options { ort_lib: Some("/no/such/lib.so".into()), ..options(folder.path()) };
    let (json, _) = answer(&asked, &Host::default());
    assert_eq!((&json["library"]["status"], &json["ready"]), (&"missing".into(), &false.into()));
}

#[test]
fn a_work_directory_that_can_not_be_written_is_not_ready_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (json, text) = answer(&options(Path::new("/proc/exp")), &bare_host(folder.path(), true));
    assert_eq!(json["ready"], false);
    assert!(text.contains("cannot write and sync a file in /proc"), "{text}");
}

/// Programs read these: a field may be added, none may go or change its name.
#[test]
fn the_fields_of_the_json_answer_are_stable_and_always_there() {
    let folder = tempfile::tempdir().unwrap();
    let (json, _) = answer(&options(folder.path()), &bare_host(folder.path(), true));
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(fields(&json), "cores disk execution_providers library memory ready");
    assert_eq!(fields(&json["library"]), "origin path problem status version");
    assert_eq!(fields(&json["cores"]), "affinity cgroup_quota usable");
    assert_eq!(
        fields(&json["memory"]),
        "available_bytes cgroup_limit_bytes cgroup_used_bytes cgroup_version total_bytes"
    );
    assert_eq!(
        fields(&json["disk"]),
        "file_system free_bytes path problem sync_max_us sync_median_us total_bytes warning"
    );
    let provider = ProviderReport { name: "cpu", starts: true, problem: None };
    assert_eq!(fields(&serde_json::to_value(provider).unwrap()), "name problem starts");
}

#[test]
fn the_table_has_a_line_per_provider_with_the_reason_below() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = examine(&options(folder.path()), &bare_host(folder.path(), true));
    report.execution_providers = vec![
        ProviderReport { name: "cpu", starts: true, problem: None },
        ProviderReport { name: "cuda", starts: false, problem: Some("there is no NVIDIA driver".into()) },
    ];
    report.memory.cgroup_version = Some(2);
    report.memory.cgroup_limit_bytes = Some(2 << 30);
    report.memory.cgroup_used_bytes = Some(512 << 20);
    report.cores.cgroup_quota = Some(1.5);
    let text = table(&report);
    for line in [
        "cpu          starts\n",
        "cuda         does not start\n             there is no NVIDIA driver\n",
        "control group (v2) uses 512 MiB of 2.0 GiB\n",
        "control group allows 1.50)\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
}
