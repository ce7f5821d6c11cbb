//! The market's filter language: `(&(golem.inf.mem.gib>=1)(|(a=b)(!(c=*))))`.
//!
//! `=` against a list means "contains", `*` stands for any text, numbers compare exactly, and text
//! compares as text. What is said of a property that is not there is neither true nor false, and so
//! is its opposite: `(!(gpu=1))` does not match who never heard of `gpu`. Text that is no filter
//! matches nothing; the daemon takes it all the same.

use std::borrow::Cow;

use ray_on_golem::{
    units::money::{Rounding, parse_scaled},
    yagna::Properties,
};
use serde_json::Value;

/// Filters nested deeper than this match nothing.
const DEPTH_MAX: usize = 32;
/// Numbers are compared in units of 10^-18; what is smaller is cut off on both sides.
const DECIMALS: usize = 18;

/// A parsed filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// All of them; an empty one is always true.
    All(Vec<Self>),
    /// Any of them.
    Any(Vec<Self>),
    /// Not this one.
    Not(Box<Self>),
    /// The property is there.
    Present(String),
    /// The property compares like this.
    Compare(String, Operator, Operand),
    /// Text that is no filter.
    Never,
}

/// How a property is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What a property is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operand {
    text: String,
    number: Option<i128>,
}

/// A property's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A number in units of 10^-18.
    Number(i128),
    /// A list.
    List(Vec<Self>),
}

/// Whoever has properties.
pub trait Facts {
    /// The value of a property, if it is there.
    fn fact(&self, key: &str) -> Option<Fact<'_>>;
}

impl Facts for Properties {
    fn fact(&self, key: &str) -> Option<Fact<'_>> {
        Fact::of(self.get(key)?)
    }
}

impl<'a> Fact<'a> {
    /// The same with text of its own.
    #[must_use]
    pub fn into_owned(self) -> Fact<'static> {
        match self {
            Self::Text(text) => Fact::Text(Cow::Owned(text.into_owned())),
            Self::Number(number) => Fact::Number(number),
            Self::List(items) => Fact::List(items.into_iter().map(Self::into_owned).collect()),
        }
    }

    /// What a property says; nothing is said by what is null.
    fn of(value: &'a Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(flag) => Self::Text(Cow::Owned(flag.to_string())),
            Value::Number(number) => match read_number(number.as_str()) {
                Some(value) => Self::Number(value),
                None => Self::Text(Cow::Borrowed(number.as_str())),
            },
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(items) => Self::List(items.iter().filter_map(Self::of).collect()),
            Value::Object(_) => Self::Text(Cow::Borrowed("")),
        })
    }
}

impl Constraint {
    /// Reads a filter; text of any shape is safe to pass.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut reader = Reader { rest: text.trim(), depth: 0 };
        match reader.group() {
            Some(constraint) if reader.rest.is_empty() => constraint,
            Some(_) | None => Self::Never,
        }
    }

    /// Whether the properties meet the filter.
    #[must_use]
    pub fn accepts(&self, facts: &impl Facts) -> bool {
        self.resolve(facts) == Some(true)
    }

    /// Whether it is true; `None` if a missing property leaves it open.
    fn resolve(&self, facts: &impl Facts) -> Option<bool> {
        match self {
            Self::All(members) => resolve_members(members, facts, false),
            Self::Any(members) => resolve_members(members, facts, true),
            Self::Not(member) => member.resolve(facts).map(|is_met| !is_met),
            Self::Present(key) => Some(facts.fact(key).is_some()),
            Self::Compare(key, operator, operand) => {
                facts.fact(key).map(|fact| operand.is_met(*operator, &fact))
            }
            Self::Never => Some(false),
        }
    }
}

/// One member that is `decisive` decides; otherwise one that is open leaves all open.
fn resolve_members(members: &[Constraint], facts: &impl Facts, decisive: bool) -> Option<bool> {
    let mut is_open = false;
    for member in members {
        match member.resolve(facts) {
            Some(is_met) if is_met == decisive => return Some(decisive),
            Some(_) => {}
            None => is_open = true,
        }
    }
    (!is_open).then_some(!decisive)
}

impl Operand {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), number: read_number(text) }
    }

    fn is_met(&self, operator: Operator, fact: &Fact<'_>) -> bool {
        let ordering = match (fact, self.number) {
            (Fact::List(items), _) => {
                return operator == Operator::Equal && self.is_met_by_list(items);
            }
            (Fact::Number(number), Some(wanted)) => number.cmp(&wanted),
            (Fact::Number(_), None) => return false,
            (Fact::Text(text), _) if operator == Operator::Equal => {
                return matches_pattern(&self.text, text);
            }
            (Fact::Text(text), _) => text.as_ref().cmp(&self.text),
        };
        match operator {
            Operator::Equal => ordering.is_eq(),
            Operator::Less => ordering.is_lt(),
            Operator::LessOrEqual => ordering.is_le(),
            Operator::Greater => ordering.is_gt(),
            Operator::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Operand {
    /// One value is met by a list that has it. A list, `[a,b]`, is met by one of its length that has all of
    /// its values, in any order and any number.
    fn is_met_by_list(&self, items: &[Fact<'_>]) -> bool {
        let has = |text: &str| {
            let wanted = Self::new(text);
            items.iter().any(|item| wanted.is_met(Operator::Equal, item))
        };
        let listed = self.text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let Some(listed) = listed else { return has(&self.text) };
        let wanted: Vec<&str> = listed.split(',').map(str::trim).collect();
        wanted.len() == items.len() && wanted.into_iter().all(has)
    }
}

/// A decimal number in units of 10^-18, if the text is one.
pub(crate) fn read_number(text: &str) -> Option<i128> {
    let unsigned = text.strip_prefix('-');
    let digits = unsigned.unwrap_or(text);
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::try_from(parse_scaled(digits, DECIMALS, Rounding::Down).ok()?).ok()?;
    Some(if unsigned.is_some() { -magnitude } else { magnitude })
}

/// Whether `text` is `pattern`, where `*` stands for any text.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut rest) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = tail.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn group(&mut self) -> Option<Constraint> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        self.expect('(')?;
        let constraint = match self.rest.chars().next()? {
            '&' => Constraint::All(self.members()?),
            '|' => Constraint::Any(self.members()?),
            '!' => {
                self.rest = self.rest[1..].trim_start();
                Constraint::Not(Box::new(self.group()?))
            }
            ')' => Constraint::All(Vec::new()),
            _ => self.comparison()?,
        };
        self.expect(')')?;
        self.rest = self.rest.trim_start();
        self.depth -= 1;
        Some(constraint)
    }

    fn members(&mut self) -> Option<Vec<Constraint>> {
        self.rest = self.rest[1..].trim_start();
        let mut members = Vec::new();
        while self.rest.starts_with('(') {
            members.push(self.group()?);
        }
        Some(members)
    }

    fn comparison(&mut self) -> Option<Constraint> {
        let end = self.rest.find([')', '('])?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let at = text.find(['=', '<', '>'])?;
        let (key, comparison) = (text[..at].trim(), &text[at..]);
        let (operator, value) = OPERATORS.iter().find_map(|(sign, operator)| {
            Some((*operator, comparison.strip_prefix(sign)?.trim()))
        })?;
        if key.is_empty() {
            return None;
        }
        Some(if operator == Operator::Equal && value == "*" {
            Constraint::Present(key.to_owned())
        } else {
            Constraint::Compare(key.to_owned(), operator, Operand::new(value))
        })
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(wanted)?.trim_start();
        Some(())
    }
}

/// Longer signs first.
const OPERATORS: [(&str, Operator); 5] = [
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ray_on_golem::yagna::Properties;
    use serde_json::json;

    use super::Constraint;

    fn offer() -> Properties {
        let mut properties = Properties::default();
        properties.set("mem", json!(16.0));
        properties.set("threads", json!(8));
        properties.set("name", json!("prov-0"));
        properties.set("caps", json!(["vpn", "inet"]));
        properties.set("coeffs", json!([0.0001, 0.0]));
        properties.set("version", json!("3"));
        properties.set("debt", json!(-2.5));
        properties.set("price", json!(0.000_000_000_000_1));
        properties
    }

    #[test]
    fn filters_mean_what_the_market_says() {
        let table = [
            ("()", true),
            ("(&)", true),
            ("(mem>=16)", true),
            ("(mem>16)", false),
            ("(threads<=8.0)", true),
            ("(threads>10)", false),
            ("(name=prov-0)", true),
            ("(name=prov-*)", true),
            ("(name=*-0)", true),
            ("(name=p*v*1)", false),
            ("(caps=vpn)", true),
            ("(&(caps=vpn)\n\t(caps=inet))", true),
            ("(caps=manifest-support)", false),
            ("(|(caps=gpu)(mem<20))", true),
            ("(!(caps=gpu))", true),
            ("(nothing=*)", false),
            ("(name=*)", true),
            ("(mem!=3)", false),
            ("(mem>=16", false),
            ("mem>=16", false),
            ("", false),
            ("(mem>=16)(x=1)", false),
            (" ( & (mem >= 16) ) ", true),
            ("(mem>=)", false),
            ("(=16)", false),
            ("(mem=1(6)", false),
            ("(mem>=sixteen)", false),
            ("(|)", false),
            ("(mem=16.000)", true),
            ("(mem=1.6e1)", true),
            ("(debt<-2)", true),
            ("(debt>-2)", false),
            ("(price>0)", true),
            ("(price>=0.0000000000001)", true),
            ("(version>1)", true),
            // Text compares as text.
            ("(version>=10)", true),
            ("(name>prov)", true),
            ("(caps=v*)", true),
            ("(caps>=vpn)", false),
            ("(caps=[inet, vpn])", true),
            ("(caps=[vpn,vpn])", true),
            ("(caps=[vpn])", false),
            ("(caps=[vpn,gpu])", false),
            ("(coeffs=0.00010)", true),
            ("(coeffs=0)", true),
            ("(coeffs=0.5)", false),
            ("(coeffs>0)", false),
            ("(!(coeffs=0.5))", true),
            ("(coeffs=[0,0.0001])", true),
            ("(coeffs=*)", true),
            // Who says nothing is neither on the one side nor on the other.
            ("(!(gpu=1))", false),
            ("(!(gpu=*))", true),
            ("(|(gpu=1)(mem=16))", true),
            ("(!(&(gpu=1)(mem=17)))", true),
        ];
        for (text, wanted) in table {
            assert_eq!(Constraint::parse(text).accepts(&offer()), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[()&|!=<>* a-z0-9é]{0,60}") {
            let filter = Constraint::parse(&text);
            prop_assert_eq!(filter.accepts(&offer()), filter.accepts(&offer()));
        }
    }

    #[test]
    fn endless_nesting_matches_nothing() {
        assert_eq!(Constraint::parse(&"(!".repeat(100_000)), Constraint::Never);
    }
}
