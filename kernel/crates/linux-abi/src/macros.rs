//! The two shapes that flags and enumerations of the ABI have here.

/// Declares a `bitflags` type over an integer that can stand in an ABI structure (it is plain bytes),
/// with `from_raw`, which refuses unknown bits.
macro_rules! abi_flags {
    (
        $(#[$meta:meta])*
        pub struct $name:ident: $repr:ty {
            $( $(#[$($flag_meta:tt)*])* const $flag:ident = $value:expr; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Hash, Default,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name($repr);

        bitflags::bitflags! {
            impl $name: $repr {
                $( $(#[$($flag_meta)*])* const $flag = $value; )*
            }
        }

        impl $name {
            /// The flags in a system call's argument, or `EINVAL` if a bit of it is unknown.
            pub const fn from_raw(raw: $repr) -> Result<Self, $crate::Errno> {
                match Self::from_bits(raw) {
                    Some(flags) => Ok(flags),
                    None => Err($crate::Errno::EINVAL),
                }
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                if self.bits() == 0 { f.write_str("0") } else { bitflags::parser::to_writer(self, f) }
            }
        }
    };
}

/// Declares an enumeration of the ABI: a variant, its number and its name in the header.
macro_rules! abi_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $repr:ty {
            $( $(#[$variant_meta:meta])* $variant:ident = $value:literal, $header_name:literal; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr($repr)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant = $value, )*
        }

        impl $name {
            /// The variant with this number, if there is one.
            pub const fn from_raw(raw: $repr) -> Option<Self> {
                match raw { $($value => Some(Self::$variant),)* _ => None }
            }

            /// The number, as the ABI has it.
            pub const fn raw(self) -> $repr { self as $repr }

            /// The constant's name in the uapi header.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $header_name,)* }
            }
        }
    };
}

/// Proves at compile time the size of a structure and the offsets of its fields.
macro_rules! assert_layout {
    ($type:ty, size = $size:literal $(, $($field:ident).+ @ $offset:literal)* $(,)?) => {
        const _: () = {
            assert!(size_of::<$type>() == $size);
            $( assert!(core::mem::offset_of!($type, $($field).+) == $offset); )*
        };
    };
}
