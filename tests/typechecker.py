"""Every annotated function of aejax is checked as the tests call it, shapes included."""

from beartype import BeartypeConf, beartype

# An int is welcome where a float is.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
