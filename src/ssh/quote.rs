//! Words for a shell.

/// The word as a POSIX shell reads it, without double quotes.
///
/// OpenSSH looks for the ends of quotes before it hands a `ProxyCommand` to a shell, and takes a backslash before a quote
/// for a part of the text, also between single quotes. So no backslash stands between quotes.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:%+,=@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let mut text = String::from("'");
    for character in word.chars() {
        match character {
            '\'' => text.push_str(r"'\''"),
            '\\' => text.push_str(r"'\\'"),
            other => text.push(other),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::quoted;

    const WORDS: [&str; 11] = [
        "plain",
        "",
        "a b",
        "it's",
        r"back\slash\",
        r"\'",
        r#"say "x""#,
        "$HOME `id` !e",
        "two\nlines",
        "ü 数据",
        "~ # * ? [a] & | ; <d>",
    ];

    #[test]
    fn a_shell_reads_the_word_again() {
        for word in WORDS {
            let line = format!("printf %s {}", quoted(word));

            let output = Command::new("sh").args(["-c", &line]).output().expect("a shell");

            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }

    /// As OpenSSH 8.7 and newer count them, see `argv_split`.
    #[test]
    fn quotes_are_balanced_for_ssh() {
        for word in WORDS {
            let mut open = None;
            let line = quoted(word);
            let mut characters = line.chars().peekable();
            while let Some(character) = characters.next() {
                match (character, open) {
                    ('\\', _) if characters.peek().is_some_and(|next| "'\"\\".contains(*next)) => {
                        characters.next();
                    }
                    ('\'' | '"', None) => open = Some(character),
                    (quote, Some(begun)) if quote == begun => open = None,
                    (_, None | Some(_)) => {}
                }
            }
            assert_eq!(open, None, "{line}");
        }
    }
}
