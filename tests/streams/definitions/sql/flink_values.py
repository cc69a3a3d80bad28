"""Evaluates expressions in Flink itself, for the comparison with DuckDB. Runs in the environment of jobs.

Reads ``{"jar", "columns", "rows", "expressions"}`` as JSON, writes ``{"values"}``: for each row the value of each
expression. Doubles are JSON's numbers in both; there are no others than finite ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import DataTypes, StreamTableEnvironment
from pyflink.util.java_utils import add_jars_to_context_class_loader

_TYPES = {
    "string": DataTypes.STRING(),
    "long": DataTypes.BIGINT(),
    "double": DataTypes.DOUBLE(),
    "boolean": DataTypes.BOOLEAN(),
}
_TYPES |= {f"{name}[]": DataTypes.ARRAY(kind) for name, kind in _TYPES.items()}
# Flink generates one class for a query; more columns than this make it slow to compile.
_AT_ONCE = 100


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    add_jars_to_context_class_loader([request["jar"]])
    environment = StreamExecutionEnvironment.get_execution_environment()
    environment.add_jars(request["jar"])
    environment.set_parallelism(1)
    tables = StreamTableEnvironment.create(environment)
    get_gateway().jvm.penstock.kernel.graph.SqlFunctions.register(tables._j_tenv)
    fields = [DataTypes.FIELD("__row", DataTypes.BIGINT())]
    fields += [DataTypes.FIELD(name, _TYPES[kind]) for name, kind in request["columns"].items()]
    rows = [(number, *row) for number, row in enumerate(request["rows"])]
    tables.create_temporary_view("event", tables.from_elements(rows, DataTypes.ROW(fields)))
    values: list[list[object]] = [[] for _ in rows]
    for start in range(0, len(request["expressions"]), _AT_ONCE):
        some = request["expressions"][start : start + _AT_ONCE]
        columns = ", ".join(f"{sql} AS v{number}" for number, sql in enumerate(some))
        with tables.sql_query(f"SELECT __row, {columns} FROM event").execute().collect() as results:
            for number, *found in results:
                values[number] += found
    Path(sys.argv[2]).write_text(json.dumps({"values": values}), encoding="utf-8")


if __name__ == "__main__":
    main()
