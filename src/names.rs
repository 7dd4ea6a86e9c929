//! Enums whose variants have names: on the command line, in JSON, in files.

/// Gives an enum `ALL`, `name` and `from_name`, by a table of its variants' names.
macro_rules! names {
    ($type:ident { $($variant:ident: $name:literal),+ }) => {
        impl $type {
            /// All of them.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// Its name, for users and for files.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The one of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.name() == name)
            }
        }
    };
}
pub(crate) use names;
