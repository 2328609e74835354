"""Where data sets and models are looked for before any network: the data root, and its layout.

from evalkit.data import find_data, read_rows

for row in read_rows(find_data("openai/gsm8k", config="main", split="test")):
    row.fields["question"], row.place  # the fields as they are written, and file:line
"""

from evalkit.data.find import DataSet, find_data, find_data_set
from evalkit.data.places import HubName, at_data_root, data_root, parse_name
from evalkit.data.rows import DataRow, read_rows

__all__ = [
    "DataRow",
    "DataSet",
    "HubName",
    "at_data_root",
    "data_root",
    "find_data",
    "find_data_set",
    "parse_name",
    "read_rows",
]
