//! The sections of the page, but for the timeline.

use super::{Contents, Setting, pairs, section, table};
use crate::report::chart::svg::escaped;
use crate::report::clock::Clock;
use crate::report::progress::duration;
use crate::report::recorded::Recorded;
use crate::train::event::Event;
use crate::train::history::History;
use std::fmt::Write as _;

/// Larger matrices are not shown: nobody reads so many numbers.
const MOST_CLASSES: usize = 64;

pub(super) fn summary(out: &mut String, contents: &Contents) {
    let history = &contents.recorded.history;
    let clock = Clock::of(history);
    let worked_s: f64 = clock.spans(history).iter().map(|span| span.ended_s - span.began_s).sum();
    let mut rows = vec![
        ("folder", contents.work_dir.clone()),
        ("run", contents.recorded.run_id.to_string()),
        ("epochs", history.epochs.len().to_string()),
        ("steps", history.last_step().to_string()),
        ("attempts", history.attempts.to_string()),
    ];
    if !clock.is_empty() {
        rows.push(("time of work", duration(worked_s)));
    }
    if let Some(last) = history.epochs.values().next_back() {
        let values = last.validation.iter().map(|(name, value)| format!("{name} {value:.6}"));
        let all: Vec<String> =
            [format!("train_loss {:.6}", last.train_loss)].into_iter().chain(values).collect();
        rows.push(("last epoch", all.join(", ")));
    }
    if let Some(best) = history.best_epoch() {
        let values = best.validation.iter().map(|(name, value)| format!("{name} {value:.6}"));
        let all: Vec<String> = values.collect();
        rows.push(("best epoch", format!("{} (step {}) {}", best.epoch, best.step, all.join(", "))));
    }
    if !history.refused.is_empty() {
        rows.push((
            "batches left out",
            format!("{}, because loss or gradients were not finite", history.refused.len()),
        ));
    }
    section(out, "Summary", &pairs(&rows));
}

pub(super) fn confusion(out: &mut String, contents: &Contents) {
    let Some(csv) = &contents.confusion_csv else { return };
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let Some((heading, rows)) = rows.split_first() else { return };
    if rows.len() > MOST_CLASSES {
        let body = format!("<p class=\"muted\">{} classes: see confusion.csv</p>\n", rows.len());
        return section(out, "Confusion matrix", &body);
    }
    let mut body =
        String::from("<div class=\"wide\"><table class=\"confusion\">\n<tr><th>true \\ predicted</th>");
    for name in heading.iter().skip(1) {
        let class = name.strip_prefix("predicted_").unwrap_or(name);
        _ = write!(body, "<th>{}</th>", escaped(class));
    }
    body.push_str("</tr>\n");
    for (number, row) in rows.iter().enumerate() {
        let counts: Vec<f64> = row.iter().skip(1).map(|count| count.parse().unwrap_or(0.0)).collect();
        let all: f64 = counts.iter().sum();
        _ = write!(body, "<tr><th>{}</th>", escaped(row.first().copied().unwrap_or_default()));
        for (column, (count, text)) in counts.iter().zip(row.iter().skip(1)).enumerate() {
            let share = if all > 0.0 { count / all } else { 0.0 };
            // Right answers on blue, wrong ones on orange.
            let colour = if number == column { "0,114,178" } else { "213,94,0" };
            let ink = if share > 0.55 { "#fff" } else { "#222" };
            let style = format!("background:rgba({colour},{:.2});color:{ink}", share.sqrt() * 0.9);
            _ = write!(body, "<td style=\"{style}\">{}</td>", escaped(text));
        }
        body.push_str("</tr>\n");
    }
    section(out, "Confusion matrix", &(body + "</table></div>\n"));
}

pub(super) fn epochs(out: &mut String, history: &History) {
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in history.epochs.values().flat_map(|epoch| &epoch.validation) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let heading: Vec<&str> = ["epoch", "step", "train_loss"]
        .into_iter()
        .chain(columns.iter().copied())
        .chain(["lr", "seconds", "attempt", ""])
        .collect();
    let best = history.best_epoch().map(|epoch| epoch.epoch);
    let rows = history.epochs.values().map(|epoch| {
        let mut cells =
            vec![epoch.epoch.to_string(), epoch.step.to_string(), format!("{:.6}", epoch.train_loss)];
        cells.extend(columns.iter().map(|column| {
            let found = epoch.validation.iter().find(|(name, _)| name == column);
            found.map_or(String::new(), |(_, value)| format!("{value:.6}"))
        }));
        let is_best = best == Some(epoch.epoch);
        cells.extend([
            format!("{:.3e}", epoch.lr),
            format!("{:.2}", epoch.seconds),
            epoch.attempt.to_string(),
        ]);
        cells.push(if is_best { "best".to_owned() } else { String::new() });
        (is_best, cells)
    });
    let rows: Vec<(bool, Vec<String>)> = rows.collect();
    let body = if rows.is_empty() {
        "<p class=\"muted\">no epoch has ended yet</p>\n".to_owned()
    } else {
        table("n", &heading, &rows)
    };
    section(out, "Epochs", &body);
}

pub(super) fn settings(out: &mut String, settings: &[Setting]) {
    let changed: Vec<&Setting> = settings.iter().filter(|setting| setting.default.is_some()).collect();
    let mut body = String::new();
    if changed.is_empty() {
        body.push_str("<p class=\"muted\">all settings have their defaults</p>\n");
    } else {
        let rows: Vec<(bool, Vec<String>)> = changed
            .iter()
            .map(|setting| {
                let default = setting.default.clone().unwrap_or_default();
                (false, vec![setting.path.clone(), setting.value.clone(), default])
            })
            .collect();
        body.push_str(&table("code", &["setting", "value", "default"], &rows));
    }
    let all: Vec<(bool, Vec<String>)> =
        settings.iter().map(|setting| (false, vec![setting.path.clone(), setting.value.clone()])).collect();
    _ = writeln!(
        body,
        "<details><summary>all {} settings</summary>\n{}</details>",
        settings.len(),
        table("code", &["setting", "value"], &all)
    );
    section(out, "Settings that differ from the defaults", &body);
}

pub(super) fn checkpoints(out: &mut String, recorded: &Recorded) {
    let kept = &recorded.history.checkpoints;
    let durable = recorded.events.iter().filter_map(|event| match event {
        Event::CheckpointDurable(durable) if kept.contains(&durable.name) => Some(durable),
        _ => None,
    });
    // A name may be published again after it was dropped; the last counts.
    let latest: std::collections::BTreeMap<&str, _> =
        durable.map(|durable| (durable.name.as_str(), durable)).collect();
    let mut latest: Vec<_> = latest.into_values().collect();
    latest.sort_by_key(|durable| durable.step);
    let rows: Vec<(bool, Vec<String>)> = latest
        .into_iter()
        .map(|durable| {
            let digest: String = durable.digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let megabytes = format!("{:.2} MB", durable.len_bytes as f64 / 1e6);
            (false, vec![durable.name.clone(), durable.step.to_string(), megabytes, digest])
        })
        .collect();
    let body = if rows.is_empty() {
        "<p class=\"muted\">none is there</p>\n".to_owned()
    } else {
        table("code", &["file", "step", "size", "XXH3-128"], &rows)
    };
    section(out, "Checkpoints", &body);
}

pub(super) fn environment(out: &mut String, contents: &Contents) {
    let history = &contents.recorded.history;
    let mut rows = Vec::new();
    if let Some(environment) = &history.environment {
        rows.push(("program", environment.program.clone()));
        rows.push(("ONNX Runtime", environment.onnxruntime.clone()));
        rows.push(("device", environment.device.clone()));
        rows.push(("threads", environment.threads.to_string()));
    }
    if let Some(crc32) = history.model_crc32 {
        rows.push(("CRC-32 of the model", format!("{crc32:08x}")));
    }
    let mut body = pairs(&rows);
    if let Some(data_lock) = &history.data_lock {
        _ = writeln!(
            body,
            "<details><summary>data files</summary><pre>{}</pre></details>",
            escaped(data_lock)
        );
    }
    section(out, "Environment", &body);
}
