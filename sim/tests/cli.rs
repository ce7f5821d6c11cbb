//! `golem-sim` as a user runs it: help, exit codes, and the files that it writes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The exit code, what was printed, and what was told beside it.
fn golem_sim(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_golem-sim"))
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// An empty directory of this test, and how to name it from the root.
fn scratch(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory).expect("an old directory of this test");
    }
    fs::create_dir_all(&directory).expect("a scratch directory");
    directory
}

#[test]
fn exit_codes_are_in_the_help_and_in_the_readme() {
    let help = golem_sim(&["--help"]).1;
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a readme");
    let table = help.split("Exit codes:\n").nth(1).expect("the help has the table");
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() > 5, "{help}");
    for line in lines {
        let (code, meaning) = line.trim_start().split_once("  ").expect("a code and a meaning");
        assert!(readme.contains(&format!("| {code} | {meaning} |")), "{code}: {meaning}");
    }
}

#[test]
fn every_outcome_has_its_exit_code() {
    let directory = scratch("exit-codes");
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let good = write("good.yaml", "market: {honest: 2}\nops: [head]\n");
    let bad = write("bad.yaml", "market: {honset: 2}\nops: [head]\n");

    let code = |arguments: &[&str]| golem_sim(arguments).0;
    assert_eq!(code(&["run", &good]), Some(0));
    assert_eq!(code(&["report", &good, "--seeds", "1"]), Some(0));
    assert_eq!(code(&["run", &bad]), Some(2));
    assert_eq!(code(&["run", "nowhere.yaml"]), Some(2));
    assert_eq!(code(&["run"]), Some(2));
    assert_eq!(code(&["report", &good, "--seeds", "0"]), Some(2));
    assert_eq!(code(&["swarm", "--seeds", "2", "--mode", "calm", "--require-marks"]), Some(4));
}

#[test]
fn a_wrong_sweep_is_refused_in_one_sentence() {
    let refused = |sweep: &str| {
        let (code, stdout, stderr) =
            golem_sim(&["report", "fixtures/plan/asleep.yaml", "--sweep", sweep]);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        stderr
    };

    let sentences = [
        refused("honest"),
        refused("honest=3"),
        refused("market.honest="),
        refused("market.honest=1,two"),
        refused("faults.refuse=101"),
    ];

    insta::assert_snapshot!(sentences.join(""));
}

#[test]
fn a_report_writes_its_picture_where_it_is_told() {
    let directory = scratch("pictures");
    let plan = "fixtures/plan/script-fails.yaml";
    let file = directory.join("picture.svg");
    let deep = directory.join("deep/");
    let svg = |place: &Path, sweep: &str| {
        let place = place.display().to_string();
        golem_sim(&["report", plan, "--seeds", "1", "--sweep", sweep, "--svg", &place])
    };

    let (code, text, told) = svg(&file, "market.honest=3,4");
    let (again, same, named) = svg(&deep, "market.honest=3,4");

    assert_eq!((code, again), (Some(0), Some(0)), "{told}{named}");
    assert_eq!(text, same);
    assert!(text.starts_with("script-fails: 1 seed for each market.honest, from 12\n"), "{text}");
    let expected = deep.join("script-fails-market.honest.svg");
    assert_eq!(named, format!("picture: {}\n", expected.display()));
    let picture = fs::read_to_string(&file).expect("the picture is there");
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
    assert_eq!(picture, fs::read_to_string(expected).expect("the picture is there"));
}

#[test]
fn a_picture_that_cannot_be_written_is_no_success() {
    let directory = scratch("no-picture");
    let place = directory.join("missing/picture.svg").display().to_string();

    let plan = "fixtures/plan/script-fails.yaml";
    let (code, _, told) = golem_sim(&["report", plan, "--seeds", "1", "--svg", &place]);

    assert_eq!(code, Some(2), "{told}");
    assert!(told.starts_with("error: cannot write "), "{told}");
}

#[test]
fn a_report_for_programs_is_json() {
    let plan = "fixtures/plan/script-fails.yaml";
    let (code, text, told) = golem_sim(&["report", plan, "--seeds", "2", "--format", "json"]);

    assert_eq!((code, told.as_str()), (Some(0), ""));
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["plan"], "script-fails");
    assert_eq!(document["rows"][0]["nodes_wanted"], 2);
}

#[test]
fn a_page_has_all_plans_and_their_pictures_beside_it() {
    let directory = scratch("page");
    let page = directory.join("policies.md");
    let place = page.display().to_string();
    let plans = ["fixtures/plan/script-fails.yaml", "fixtures/plan/rich-market.yaml"];
    let sweep = ["--seeds", "1", "--sweep", "policy=original,plain", "--page", &place];

    let (code, _, told) = golem_sim(&[&["report"], &plans[..], &sweep[..]].concat());

    assert_eq!((code, told), (Some(0), format!("page: {place}\n")));
    let text = fs::read_to_string(&page).expect("the page is there");
    for name in ["script-fails", "rich-market"] {
        let size = if name == "script-fails" { 2 } else { 10 };
        let picture = format!("policies/{name}-{size}.svg");
        assert!(text.contains(&format!("\n![{name}, {size} nodes]({picture})\n")), "{text}");
        let picture = fs::read_to_string(directory.join(picture));
        assert!(picture.expect("it is there").contains(">original</text>"));
    }
}
