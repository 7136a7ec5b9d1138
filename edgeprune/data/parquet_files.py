"""Read rows from a Parquet file; what `datasets` wrote into it of classes and images is kept."""

from pathlib import Path

from edgeprune.base.errors import DataError
from edgeprune.base.wording import first_line
from edgeprune.data.records import Records, records_of

__all__ = ["read_parquet"]


def read_parquet(path: Path) -> Records:
    """Read a whole file.

    Raises:
        DataError: It is no Parquet file, or has a type that can't be read.
    """
    import pyarrow as pa
    from datasets import Dataset
    from pyarrow.parquet import ParquetFile

    try:
        table = ParquetFile(path).read()
        for position, field in enumerate(table.schema):
            if pa.types.is_dictionary(field.type):  # pandas' categories
                plain = table.column(position).cast(field.type.value_type)
                table = table.set_column(position, field.name, plain)
        return records_of(Dataset(table), str(path))
    except Exception as error:
        raise DataError(f"{path} can't be read as parquet: {first_line(error)}") from error
