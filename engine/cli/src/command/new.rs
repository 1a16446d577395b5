//! `agentos worker new`: a worker that runs, with a test and a manifest.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use serde_json::json;

use crate::{
    args::Lang,
    failure::{FAILED, Failure},
    screen::{BOLD, Screen, styled},
};

/// A file of a template: where it goes, and its text with `{{…}}` to be filled in.
type File = (&'static str, &'static str);

macro_rules! template {
    ($folder:literal: $($to:literal from $from:literal),* $(,)?) => {
        &[$(($to, include_str!(concat!("../../templates/", $folder, "/", $from)))),*]
    };
}

const RUST: &[File] = template!("rust":
    "worker.yaml" from "worker.yaml",
    "Cargo.toml" from "Cargo.toml.tmpl",
    "src/lib.rs" from "src/lib.rs",
    "src/main.rs" from "src/main.rs.tmpl",
    "tests/greet.rs" from "tests/greet.rs",
    ".gitignore" from "gitignore",
);

const TS: &[File] = template!("ts":
    "worker.yaml" from "worker.yaml",
    "package.json" from "package.json",
    "tsconfig.json" from "tsconfig.json",
    "src/greet.ts" from "src/greet.ts",
    "src/index.ts" from "src/index.ts.tmpl",
    "test/greet.test.js" from "test/greet.test.js",
    ".gitignore" from "gitignore",
);

const PYTHON: &[File] = template!("python":
    "worker.yaml" from "worker.yaml",
    "requirements.txt" from "requirements.txt",
    "{{module}}/__init__.py" from "module/__init__.py",
    "{{module}}/__main__.py" from "module/__main__.py.tmpl",
    "{{module}}/greeting.py" from "module/greeting.py",
    "tests/__init__.py" from "tests/__init__.py",
    "tests/test_greeting.py" from "tests/test_greeting.py.tmpl",
    ".gitignore" from "gitignore",
);

pub(crate) fn run(
    name: &str,
    lang: Lang,
    dir: Option<PathBuf>,
    screen: &Screen,
) -> Result<(), Failure> {
    check_name(name)?;
    let folder = dir.unwrap_or_else(|| default_folder(name));
    if folder.exists() {
        return Err(
            Failure::usage(format!("{} is there already", folder.display()))
                .remedy("choose another name, or another folder with --dir"),
        );
    }
    let files = write(name, lang, &folder)?;
    if screen.json {
        screen.value(
            &json!({ "folder": folder, "files": files, "function": format!("{name}::greet") }),
        );
    } else {
        show_next_steps(name, lang, &folder, screen);
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Failure> {
    let good = name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-');
    match good {
        true => Ok(()),
        false => Err(Failure::usage(format!("`{name}` is no name for a worker"))
            .remedy("use lower-case letters, digits and `-`, for instance image-tools")),
    }
}

fn default_folder(name: &str) -> PathBuf {
    let workers = Path::new("workers");
    if workers.is_dir() {
        workers.join(name)
    } else {
        PathBuf::from(name)
    }
}

fn write(name: &str, lang: Lang, folder: &Path) -> Result<Vec<String>, Failure> {
    let fill = Fill::new(name, lang, folder);
    let files = match lang {
        Lang::Rust => RUST,
        Lang::Ts => TS,
        Lang::Python => PYTHON,
    };
    let mut written = Vec::new();
    for (to, text) in files {
        let to = fill.fill(to);
        let path = folder.join(&to);
        let cannot =
            |error| Failure::new(FAILED, format!("cannot write {}: {error}", path.display()));
        fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(cannot)?;
        fs::write(&path, fill.fill(text)).map_err(cannot)?;
        written.push(to);
    }
    Ok(written)
}

/// What stands in a template's `{{…}}`.
struct Fill {
    name: String,
    module: String,
    sdk: String,
    prepare_sdk: String,
    shares_sdk: String,
}

impl Fill {
    fn new(name: &str, lang: Lang, folder: &Path) -> Self {
        let checkout =
            checkout_near(folder).map(|checkout| way(folder, &checkout).display().to_string());
        let version = env!("CARGO_PKG_VERSION");
        let sdk = match (lang, &checkout) {
            (Lang::Rust, Some(checkout)) => format!("{{ path = \"{checkout}/sdk-rust\" }}"),
            (Lang::Rust, None) => format!("\"{version}\""),
            (Lang::Ts, Some(checkout)) => format!("file:{checkout}/sdk-ts"),
            (Lang::Ts, None) => format!("^{version}"),
            (Lang::Python, Some(checkout)) => format!("{checkout}/sdk-python"),
            (Lang::Python, None) => format!("agentos>={version}"),
        };
        // In a checkout the SDK is built where it stands.
        let steps = |checkout: &String| {
            format!(
                "  - [npm, --prefix, {checkout}/sdk-ts, install, --no-save, --no-audit, --no-fund]\n  - [npm, --prefix, {checkout}/sdk-ts, run, build]\n"
            )
        };
        let shares_sdk = checkout
            .as_ref()
            .map(|checkout| format!("shares: [{checkout}/sdk-ts]\n"))
            .unwrap_or_default();
        let prepare_sdk = checkout.as_ref().map(steps).unwrap_or_default();
        Fill {
            name: name.to_owned(),
            module: name.replace('-', "_"),
            sdk,
            prepare_sdk,
            shares_sdk,
        }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{{name}}", &self.name)
            .replace("{{module}}", &self.module)
            .replace("{{sdk}}", &self.sdk)
            .replace("{{prepare_sdk}}", &self.prepare_sdk)
            .replace("{{shares_sdk}}", &self.shares_sdk)
    }
}

/// The checkout that the folder is in, or that this program was built in.
fn checkout_near(folder: &Path) -> Option<PathBuf> {
    let folder = std::path::absolute(folder).ok();
    let program = std::env::current_exe().ok();
    let starts = [folder, program];
    let is_checkout = |path: &&Path| {
        path.join("sdk-rust/Cargo.toml").is_file() && path.join("sdk-ts/package.json").is_file()
    };
    starts
        .iter()
        .flatten()
        .find_map(|start| start.ancestors().find(is_checkout).map(Path::to_owned))
}

/// The relative way from one folder to another; absolute when they have nothing in common.
fn way(from: &Path, to: &Path) -> PathBuf {
    let from = std::path::absolute(from).unwrap_or_else(|_| from.to_owned());
    let common = from
        .components()
        .zip(to.components())
        .take_while(|(one, other)| one == other)
        .count();
    let is_root_only = from
        .components()
        .take(common)
        .all(|part| matches!(part, Component::RootDir | Component::Prefix(_)));
    if is_root_only {
        return to.to_owned();
    }
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    up.chain(to.components().skip(common)).collect()
}

fn show_next_steps(name: &str, lang: Lang, folder: &Path, screen: &Screen) {
    let test = match lang {
        Lang::Rust => "cargo test",
        Lang::Ts => "npm test",
        Lang::Python => "python3 -m unittest",
    };
    screen.line(format!(
        "{} is in {}\n",
        styled(BOLD, name),
        folder.display()
    ));
    screen.line("run it with the engine: add its folder to config.yaml, then `agentos start`");
    screen.line(format!("\n  workers:\n    dirs: [{}]\n", folder.display()));
    screen.line(format!("call it:  agentos call {name}::greet name=Ada"));
    screen.line(format!("test it:  cd {} && {test}", folder.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_way_between_folders() {
        let check = |from, to, expect| {
            assert_eq!(
                way(Path::new(from), Path::new(to)),
                Path::new(expect),
                "{from} -> {to}"
            )
        };
        check("/a/b/workers/x", "/a/b", "../..");
        check("/a/b/x", "/a/c/d", "../../c/d");
        check("/a/b", "/c/d", "/c/d");
    }

    #[test]
    fn every_template_is_filled_in_completely() {
        let folder = tempfile::tempdir().unwrap();
        for (lang, name) in [
            (Lang::Rust, "a-rust"),
            (Lang::Ts, "a-ts"),
            (Lang::Python, "a-python"),
        ] {
            let folder = folder.path().join(name);
            for file in write(name, lang, &folder).unwrap() {
                let text = fs::read_to_string(folder.join(&file)).unwrap();
                assert!(!text.contains("{{"), "{name}/{file}: {text}");
            }
            let manifest = agentos_engine::supervisor::Manifest::open(
                &folder,
                &std::collections::BTreeMap::new(),
            );
            assert_eq!(manifest.unwrap().name, name);
        }
    }
}
