//! The environment that a worker asks for. A secret is named there and read when a process is started,
//! so that it stands in no manifest, list or log.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// The value of one variable: a text, or the file where a secret is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Setting {
    Text(String),
    Secret(SecretFile),
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Asked for as a text: one that a variable gave may look like a number.
        deserializer.deserialize_str(Read)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Setting;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or { secret_file: PATH } where the text is a secret")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Setting, E> {
        Ok(Setting::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Setting, A::Error> {
        SecretFile::deserialize(MapAccessDeserializer::new(map)).map(Setting::Secret)
    }
}

/// Where a secret is. Relative paths are relative to the worker's folder.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretFile {
    pub secret_file: PathBuf,
}

/// Names and values, secrets among them: for a process, and for nobody to print.
pub(super) type Environment = Vec<(String, String)>;

/// Reads what `settings` name.
///
/// # Errors
/// The first secret that cannot be read, and why.
pub(super) fn read(
    settings: &BTreeMap<String, Setting>,
    folder: &Path,
) -> Result<Environment, String> {
    let one = |(name, setting): (&String, &Setting)| {
        let value = match setting {
            Setting::Text(text) => text.clone(),
            Setting::Secret(SecretFile { secret_file }) => {
                let file = folder.join(secret_file);
                let text = std::fs::read_to_string(&file).map_err(|error| {
                    format!(
                        "the secret `{name}` cannot be read from {}: {error}",
                        file.display()
                    )
                })?;
                // Editors and `echo` end a file with a line.
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
        };
        Ok((name.clone(), value))
    };
    settings.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_from_its_file_and_named_when_it_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "s3cret\n").unwrap();
        let secret = |file: &str| {
            let secret_file = file.into();
            Setting::Secret(SecretFile { secret_file })
        };
        let mut settings = BTreeMap::from([
            ("KEY".to_owned(), secret("key")),
            ("LEVEL".to_owned(), Setting::Text("3".to_owned())),
        ]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            read(&settings, folder.path()).unwrap(),
            [pair("KEY", "s3cret"), pair("LEVEL", "3")]
        );
        settings.insert("OTHER".to_owned(), secret("gone"));
        let error = read(&settings, folder.path()).unwrap_err();
        assert!(
            error.starts_with("the secret `OTHER` cannot be read"),
            "{error}"
        );
    }

    #[test]
    fn a_text_from_a_variable_stays_a_text() {
        let folder = tempfile::tempdir().unwrap();
        let text = "name: one\nlanguage: other\ncommand: [sh]\nenv: { PORT: \"${P}\", KEY: { secret_file: key } }\n";
        std::fs::write(folder.path().join("worker.yaml"), text).unwrap();
        let variables = BTreeMap::from([("P".to_owned(), "3000".to_owned())]);
        let manifest = super::super::Manifest::open(folder.path(), &variables).unwrap();
        assert_eq!(manifest.env["PORT"], Setting::Text("3000".to_owned()));
        assert!(matches!(manifest.env["KEY"], Setting::Secret(_)));
    }
}
