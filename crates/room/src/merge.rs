//! Decoding of JSON objects into existing values with the rules of Go's `encoding/json`, which neko's API is made of:
//! keys match without regard to case, unknown keys are ignored, absent keys and `null` leave a scalar as it is.

use std::collections::BTreeMap;

use serde_json::Value;

/// A value had the wrong type or range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeError {
    /// The key, or empty when the whole is no object.
    pub key: String,
    /// What it should be.
    pub expected: &'static str,
}

impl std::fmt::Display for MergeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.key.is_empty() {
            write!(f, "expected {}", self.expected)
        } else {
            write!(f, "{} must be {}", self.key, self.expected)
        }
    }
}

impl std::error::Error for MergeError {}

/// One key and its value, to be stored where it belongs.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Key as it was written.
    pub key: &'a str,
    /// Its value.
    pub value: &'a Value,
}

impl Field<'_> {
    fn wrong<T>(&self, expected: &'static str) -> Result<T, MergeError> {
        Err(MergeError { key: self.key.chars().take(64).collect(), expected })
    }

    /// Stores a boolean; `null` changes nothing.
    pub fn bool(&self, target: &mut bool) -> Result<(), MergeError> {
        match self.value {
            Value::Null => {}
            Value::Bool(value) => *target = *value,
            _ => return self.wrong("true or false"),
        }
        Ok(())
    }

    /// Stores an optional boolean; `null` clears it.
    pub fn some_bool(&self, target: &mut Option<bool>) -> Result<(), MergeError> {
        match self.value {
            Value::Null => *target = None,
            Value::Bool(value) => *target = Some(*value),
            _ => return self.wrong("true, false or null"),
        }
        Ok(())
    }

    /// Stores a string; `null` changes nothing.
    pub fn string(&self, target: &mut String) -> Result<(), MergeError> {
        match self.value {
            Value::Null => {}
            Value::String(value) => target.clone_from(value),
            _ => return self.wrong("a string"),
        }
        Ok(())
    }

    /// Stores an integer in the range of `T`; `null` changes nothing.
    pub fn int<T: TryFrom<i64>>(&self, target: &mut T) -> Result<(), MergeError> {
        match self.value {
            Value::Null => {}
            value => match value.as_i64().and_then(|value| T::try_from(value).ok()) {
                Some(value) => *target = value,
                None => return self.wrong("an integer in range"),
            },
        }
        Ok(())
    }

    /// Stores an optional integer; `null` clears it.
    pub fn some_int<T: TryFrom<i64>>(&self, target: &mut Option<T>) -> Result<(), MergeError> {
        match self.value {
            Value::Null => *target = None,
            value => match value.as_i64().and_then(|value| T::try_from(value).ok()) {
                Some(value) => *target = Some(value),
                None => return self.wrong("an integer in range"),
            },
        }
        Ok(())
    }

    /// Merges an object key by key; `null` clears the whole map.
    pub fn map(&self, target: &mut Option<BTreeMap<String, Value>>) -> Result<(), MergeError> {
        match self.value {
            Value::Null => *target = None,
            Value::Object(object) => {
                let map = target.get_or_insert_default();
                for (key, value) in object {
                    map.insert(key.clone(), value.clone());
                }
            }
            _ => return self.wrong("an object"),
        }
        Ok(())
    }

    /// Stores a list of strings; `null` clears it.
    pub fn strings(&self, target: &mut Vec<String>) -> Result<(), MergeError> {
        match self.value {
            Value::Null => target.clear(),
            Value::Array(items) => {
                target.clear();
                for item in items {
                    match item {
                        Value::String(text) => target.push(text.clone()),
                        Value::Null => target.push(String::new()),
                        _ => return self.wrong("a list of strings"),
                    }
                }
            }
            _ => return self.wrong("a list of strings"),
        }
        Ok(())
    }
}

/// Calls `store` with the lower-case key and the field for every entry of an object. `null` counts as an empty object.
///
/// # Errors
/// The value is no object, or `store` refuses one.
pub fn object(
    value: &Value,
    mut store: impl FnMut(&str, Field<'_>) -> Result<(), MergeError>,
) -> Result<(), MergeError> {
    match value {
        Value::Null => Ok(()),
        Value::Object(entries) => {
            for (key, value) in entries {
                store(&key.to_ascii_lowercase(), Field { key, value })?;
            }
            Ok(())
        }
        _ => Err(MergeError { key: String::new(), expected: "an object" }),
    }
}
