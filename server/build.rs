//! The files of the dashboard are part of the program: a new or changed one is a reason to compile again.

fn main() {
    println!("cargo::rerun-if-changed=../web/dist");
}
