//! `testbed import`, from graphs to labs.

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use support::{Scratch, repository};
use testbed::topology;

/// In the project's folder, so that messages are the same everywhere.
fn import(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.arg("import").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn text(octets: Vec<u8>) -> String {
    String::from_utf8(octets).unwrap()
}

/// What is printed on standard output and standard error by an import that succeeds.
fn imported(arguments: &[&str]) -> (String, String) {
    let output = import(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let file = text(output.stdout);
    topology::parse("imported.yaml", &file).unwrap_or_else(|faults| panic!("{faults}\n{file}"));
    (file, text(output.stderr))
}

/// What is said of a file that can't be imported.
fn refused(arguments: &[&str]) -> String {
    let output = import(arguments);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.stdout.is_empty());
    text(output.stderr)
}

#[test]
fn a_graph_in_gml() {
    let (file, said) = imported(&["tests/graphs/lakes.gml"]);
    insta::assert_snapshot!("import_gml", format!("{said}--\n{file}"));
}

#[test]
fn a_graph_in_graphml_with_all_options() {
    let options = ["--name", "lakes", "--multicast", "none", "--hosts", "leaves", "--delays", "--rates", "--internal"];
    let (file, said) = imported(&[&["tests/graphs/lakes.graphml"], options.as_slice()].concat());
    insta::assert_snapshot!("import_graphml", format!("{said}--\n{file}"));
}

#[test]
fn a_graph_of_another_encoding_and_other_line_ends() {
    let gml = std::fs::read_to_string(repository("tests/graphs/lakes.gml")).unwrap();
    let scratch = Scratch::new();
    let path = scratch.path().join("lakes.gml");
    // What remains of the Latin-1 characters is one octet each.
    let octets: Vec<u8> = gml.replace('\n', "\r\n").chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    std::fs::write(&path, octets).unwrap();
    let (file, said) = imported(&[path.to_str().unwrap()]);
    assert!(said.contains("lakes.gml: the file is not UTF-8: it is read as ISO 8859-1\n"), "{said}");
    assert!(said.contains("lakes.gml:14: a second node with the id `5`"), "{said}");
    assert!(file.contains("  evian-les-bains: {kind: router}         # Évian-les-Bains\n"), "{file}");
    assert!(!file.contains('\r'));
}

#[test]
fn an_imported_graph_runs_on_the_kernel() {
    let scratch = Scratch::new();
    let file = scratch.path().join("lakes.yaml");
    let graph = repository("tests/graphs/lakes.gml");
    // Labs wait for their turns.
    let limit = Duration::from_secs(240);
    scratch
        .run(["import".as_ref(), graph.as_os_str(), "-o".as_ref(), file.as_os_str()], limit)
        .expect_code(0)
        .expect_said("lakes.yaml: lakes: 6 routers, 6 hosts, 14 links, 1 scenario\n");
    scratch.run(["test".as_ref(), file.as_os_str()], limit).expect_code(0).expect_said("1 scenario: 1 passed");
}

#[test]
fn a_file_that_is_no_graph_is_refused_with_its_line() {
    let scratch = Scratch::new();
    let said = |name: &str, text: &str| refused(&[scratch.write(name, text).to_str().unwrap()]);
    for (name, text, wanted) in [
        ("list.gml", "graph [\n  node [\n", "list.gml:3: the file ends within a list that begins on line 2\n"),
        ("deep.gml", &"x [\n".repeat(100_000), "deep.gml:65: nested more than 64 levels deep\n"),
        (
            "words.gml",
            "hello\nworld\n",
            "words.gml:2: this is not GML: expected a number, a text in quotes or `[`, found `world`\n",
        ),
        (
            "net.yaml",
            "# a topology\nname: x\n",
            "net.yaml:2: this is not GML: expected a key of letters, digits and underscores, found `name:`\n",
        ),
        ("empty.gml", "", "empty.gml: there is no graph in the file\n"),
        ("none.gml", "graph [\n]\n", "none.gml: there is no node in the graph that could be kept\n"),
        ("page.html", "<!doctype html>\n<html><body></body></html>", "page.html: there is no graph in the file\n"),
        (
            "cut.graphml",
            "<graphml>\n<graph>\n",
            "cut.graphml:3: the file ends within an element that begins on line 2\n",
        ),
    ] {
        let said = said(name, text);
        assert!(said.starts_with("testbed: ") && said.ends_with(wanted), "{said}");
    }
}

#[test]
fn files_that_cannot_be_read_or_written() {
    assert!(refused(&["/dev/zero"]).contains("larger than 8 MiB"));
    assert!(refused(&["/nonexistent.gml"]).contains("/nonexistent.gml: can't read the file: No such file"));
    assert!(refused(&["tests"]).contains("tests: can't read the file: Is a directory"));
    assert!(refused(&["tests/graphs/lakes.gml", "--name", "no name"]).contains("a host name is needed"));
    let output = import(&["tests/graphs/lakes.gml", "-o", "/nonexistent/out.yaml"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(!Path::new("/nonexistent").exists());
}
