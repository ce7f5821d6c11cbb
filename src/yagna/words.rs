//! What another party says of itself or of us, made fit for a sentence, a log, and a terminal, where it is decoded.

/// The longest reason or error that is kept.
pub(crate) const SAID_LENGTH_MAX: usize = 600;

/// A text of at most so many characters, without any that steer a terminal or turn the direction of what stands beside it.
#[must_use]
pub(crate) fn plain(said: &str, length_max: usize) -> String {
    let shown = said.chars().filter(|letter| !turns(*letter));
    shown.map(|letter| if letter.is_control() { ' ' } else { letter }).take(length_max).collect()
}

/// A reason or an error.
#[must_use]
pub(crate) fn reason(said: &str) -> String {
    plain(said, SAID_LENGTH_MAX)
}

/// Characters that are not seen, and change how others are.
const fn turns(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_steers_a_terminal_is_a_blank_and_what_turns_text_is_left_out() {
        assert_eq!(plain("all\u{1b}[2J is\r\nwell\u{202e}\u{0}", 100), "all [2J is  well ");
        assert_eq!(plain("déjà vu 🙂", 100), "déjà vu 🙂");
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        assert_eq!(plain("ééé", 2), "éé");
    }
}
