//! Why a cluster file cannot be used, as one sentence for the person who wrote it.

use std::io;

use thiserror::Error;

use super::yaml::YamlError;

/// Why a cluster file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The file could not be read at all.
    #[error("{file}: {what}")]
    Unreadable {
        /// The file, as the user named it.
        file: String,
        /// Why it cannot be read, and what to do.
        what: String,
    },
    /// The file says something that cannot be used.
    #[error("{}", error.in_file(file))]
    Content {
        /// The file, as the user named it.
        file: String,
        /// What is wrong in it; the sentence says all of it.
        error: YamlError,
    },
    /// The user asked for a node type that the file does not have.
    #[error(
        "Given node type `{name}` is not found in the config file! Available node types: {}",
        available.join(", ")
    )]
    UnknownNodeType {
        /// The node type that was asked for.
        name: String,
        /// The node types of the file.
        available: Vec<String>,
    },
}

/// What is wrong with a field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{what}", if field.is_empty() { String::new() } else { format!("{field}: ") })]
pub struct FieldError {
    /// The path of the field; empty if it is about the request as a whole.
    pub field: String,
    /// What is wrong, and what to write.
    pub what: String,
}

impl From<YamlError> for FieldError {
    fn from(error: YamlError) -> Self {
        Self { field: error.key, what: error.what }
    }
}

impl ConfigError {
    /// The error that reading `file` ended with `kind`.
    #[must_use]
    pub fn unreadable(file: &str, kind: io::ErrorKind) -> Self {
        let known = [
            (io::ErrorKind::NotFound, "the file does not exist; check its name"),
            (io::ErrorKind::IsADirectory, "this is a directory; name the YAML file in it"),
            (io::ErrorKind::PermissionDenied, "the file may not be read; check its permissions"),
        ];
        let what = match known.into_iter().find(|(known, _)| *known == kind) {
            Some((_, what)) => what.to_owned(),
            None => format!("the file cannot be read: {kind}"),
        };
        Self::Unreadable { file: file.to_owned(), what }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::ConfigError;

    #[test]
    fn a_file_that_cannot_be_read_says_why() {
        let said = |kind| ConfigError::unreadable("a.yaml", kind).to_string();

        assert_eq!(said(ErrorKind::NotFound), "a.yaml: the file does not exist; check its name");
        assert_eq!(
            said(ErrorKind::IsADirectory),
            "a.yaml: this is a directory; name the YAML file in it"
        );
        assert_eq!(said(ErrorKind::TimedOut), "a.yaml: the file cannot be read: timed out");
    }
}
