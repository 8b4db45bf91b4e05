//! Images: what a guest's root file system holds, and how it is made.
//!
//! A [`recipe::Recipe`] says which file comes from where; [`jre`], [`library`] and [`system_files`] fill it;
//! [`cache`] makes an ext4 file system of it with [`ext4`], unless it has one already.
//! Not responsible for what runs in it (`application`), nor for booting it (`machine`).

pub mod cache;
pub mod ext4;
pub mod jre;
pub mod library;
pub mod recipe;
pub mod system_files;
