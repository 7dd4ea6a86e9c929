//! Structs as JSON objects, without code that a compiler plugin writes: the library stays light.

/// Writes a struct as an object with these fields. A key may name a field of a field: `step: effect.step`.
macro_rules! to_json {
    ($type:ty { $($key:ident $(: $($path:ident).+)?),+ $(,)? }) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut object = serializer.serialize_map(None)?;
                $($crate::format::json::to_json!(@entry self object $key $(: $($path).+)?);)+
                object.end()
            }
        }
    };
    (@entry $self:ident $object:ident $key:ident) => {
        $object.serialize_entry(stringify!($key), &$self.$key)?
    };
    (@entry $self:ident $object:ident $key:ident: $($path:ident).+) => {
        $object.serialize_entry(stringify!($key), &$self.$($path).+)?
    };
}
pub(crate) use to_json;

/// Reads a struct from an object with these keys. Those with `or` may be left out; others of the object are ignored.
macro_rules! from_json {
    ($type:ident { $($key:literal $field:ident $(or $default:expr)?),+ $(,)? }) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
                struct Object;
                impl<'de> Visitor<'de> for Object {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$type, A::Error> {
                        $(let mut $field = None;)+
                        while let Some(key) = map.next_key::<String>()? {
                            match &*key {
                                $($key if $field.is_some() => return Err(A::Error::duplicate_field($key)),)+
                                $($key => $field = Some(map.next_value()?),)+
                                _ => drop(map.next_value::<IgnoredAny>()?),
                            }
                        }
                        Ok($type { $($field: $crate::format::json::from_json!(@value $key $field A $(or $default)?)),+ })
                    }
                }
                deserializer.deserialize_map(Object)
            }
        }
    };
    (@value $key:literal $field:ident $A:ident) => {
        $field.ok_or_else(|| $A::Error::missing_field($key))?
    };
    (@value $key:literal $field:ident $A:ident or $default:expr) => {
        $field.unwrap_or($default)
    };
}
pub(crate) use from_json;

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[derive(Debug, PartialEq)]
    struct Inner {
        x: u32,
    }
    #[derive(Debug, PartialEq)]
    struct Outer {
        a: String,
        b: Option<u32>,
        inner: Inner,
    }
    to_json!(Inner { x });
    to_json!(Outer { a, b, x: inner.x });
    from_json!(Inner { "x" x });
    from_json!(Outer { "a" a, "b" b or None, "in" inner });

    #[test]
    fn objects_and_structs() {
        let outer = Outer { a: "text".into(), b: None, inner: Inner { x: 7 } };
        assert_eq!(json!(outer), json!({"a": "text", "b": null, "x": 7}));
        let read = |json| serde_json::from_value::<Outer>(json).map_err(|e| e.to_string());
        assert_eq!(read(json!({"a": "text", "in": {"x": 7, "y": []}, "other": {}})), Ok(outer));
        let problem = |json| read(json).expect_err("a problem");
        assert!(problem(json!({"a": "text"})).contains("missing field `in`"));
        assert!(problem(json!({"a": 5, "in": {"x": 7}})).contains("expected a string"));
        assert!(problem(json!([])).contains("expected an object"));
        let twice = serde_json::from_str::<Inner>(r#"{"x": 1, "x": 2}"#).expect_err("a problem");
        assert!(twice.to_string().contains("duplicate field `x`"));
    }
}
