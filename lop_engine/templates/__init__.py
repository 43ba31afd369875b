"""Files that `lop new` writes: an example of each kind of component with its test and an experiment file.

`my_method`, `MyMethod` and so on are replaced by the name that a user chooses.
"""
