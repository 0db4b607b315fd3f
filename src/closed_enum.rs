//! Closed enums: every outcome the cache can have, with one name shared by logs, metrics and headers.

/// Declares an enum of unit variants with `ALL`, `as_str` and `index`.
///
/// The string is the only spelling of the outcome anywhere: in logs, in metric names and in
/// `Cache-Status`, so a figure on a dashboard can be searched for in the source.
macro_rules! closed_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every variant, in the order of [`Self::index`].
            $vis const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The variant's name in logs, metrics and headers.
            #[must_use]
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The variant's place in [`Self::ALL`].
            #[must_use]
            $vis const fn index(self) -> usize {
                self as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use closed_enum;
