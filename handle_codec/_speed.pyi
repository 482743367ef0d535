# The compiled functions have the specification's types and docstrings, which are stated once: there.
from handle_codec.pure import gtin14 as gtin14
from handle_codec.pure import hash64 as hash64
from handle_codec.pure import is_prefix as is_prefix
from handle_codec.pure import is_reserved as is_reserved
from handle_codec.pure import mint_lines as mint_lines
from handle_codec.pure import normalise as normalise
from handle_codec.pure import normalise_batch as normalise_batch
from handle_codec.pure import open_lines as open_lines
from handle_codec.pure import open_serial as open_serial
from handle_codec.pure import parse as parse
from handle_codec.pure import parse_batch as parse_batch
from handle_codec.pure import parse_digital_link as parse_digital_link
from handle_codec.pure import parse_elements as parse_elements
from handle_codec.pure import parse_issued as parse_issued
from handle_codec.pure import shard_batch as shard_batch
from handle_codec.pure import shard_of as shard_of
from handle_codec.pure import shards_of as shards_of
