"""Published nets, written as prototxt by short builders: `caffecompat new` writes their files."""
