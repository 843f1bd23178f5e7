//! Just enough JSON to write test vectors down; it reads none.

use std::fmt::Write;

/// A value. Texts must need no escaping; vectors have no others.
#[derive(Clone, Debug)]
pub(super) enum Json {
    Text(String),
    Number(u64),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

pub(super) fn object<const N: usize>(fields: [(&'static str, Json); N]) -> Json {
    Json::Object(fields.into())
}

pub(super) fn list(items: impl IntoIterator<Item = Json>) -> Json {
    Json::List(items.into_iter().collect())
}

pub(super) fn hexed(bytes: impl AsRef<[u8]>) -> Json {
    Json::Text(hex::encode(bytes))
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Json {
    /// The value as a file: indented by two, ended by a newline.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        self.write_to(&mut text, 0);
        text + "\n"
    }

    fn write_to(&self, text: &mut String, depth: usize) {
        match self {
            Self::Text(value) => {
                assert!(!value.contains(['"', '\\']) && !value.contains(char::is_control));
                write!(text, "\"{value}\"").unwrap();
            }
            Self::Number(value) => write!(text, "{value}").unwrap(),
            Self::List(items) => write_all(text, depth, ['[', ']'], items, |text, item| {
                item.write_to(text, depth + 1);
            }),
            Self::Object(fields) => {
                write_all(text, depth, ['{', '}'], fields, |text, (name, value)| {
                    write!(text, "\"{name}\": ").unwrap();
                    value.write_to(text, depth + 1);
                });
            }
        }
    }
}

fn write_all<T>(
    text: &mut String,
    depth: usize,
    [open, close]: [char; 2],
    items: &[T],
    mut write_item: impl FnMut(&mut String, &T),
) {
    text.push(open);
    for (at, item) in items.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(text, "{comma}\n{:1$}", "", 2 * (depth + 1)).unwrap();
        write_item(text, item);
    }
    if !items.is_empty() {
        write!(text, "\n{:1$}", "", 2 * depth).unwrap();
    }
    text.push(close);
}
