//! Every error code has its page, and every page its code.

use std::{collections::BTreeSet, fs, path::PathBuf};

use agentos_protocol::Code;

const SECTIONS: [&str; 4] = ["## Cause", "## What you see", "## What to do", "## Example"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors")
}

#[test]
fn every_code_has_a_page_with_cause_and_remedy() {
    for code in Code::ALL {
        let path = folder().join(format!("{code}.md"));
        let page =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            page.starts_with(&format!("# {code}\n")),
            "{code} has another title"
        );
        for section in SECTIONS {
            assert!(
                page.contains(&format!("\n{section}\n")),
                "{code} lacks {section}"
            );
        }
    }
}

#[test]
fn every_page_is_of_a_code_and_in_the_index() {
    let pages: BTreeSet<String> = fs::read_dir(folder())
        .expect("docs/errors is there")
        .map(|entry| entry.expect("readable").file_name())
        .filter_map(|name| Some(name.to_str()?.strip_suffix(".md")?.to_owned()))
        .filter(|name| name != "README")
        .collect();
    let codes: BTreeSet<String> = Code::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(pages, codes);
    let index = fs::read_to_string(folder().join("README.md")).expect("the index is there");
    for code in codes {
        assert!(index.contains(&format!("]({code}.md)")), "{code}");
    }
}

#[test]
fn the_set_of_codes_is_closed() {
    for code in Code::ALL {
        assert_eq!(Code::parse(code.as_str()), Some(code));
        assert_eq!(
            serde_json::to_value(code).expect("a string"),
            code.as_str(),
            "wire and text agree"
        );
    }
}
