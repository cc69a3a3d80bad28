"""The archive: the topics of a pipeline as Parquet files, so that Kafka's retention does not limit history.

- ``layout``      the names of files and commit records, what a commit record says, and which of them count; pure
- ``storage``     the folder or bucket: whole files, written at once or not at all
- ``conditional_writes``  creates an object of S3 only if there is none
- ``columns``     the columns of an archived topic: those of every record, and those of its decoded value
- ``avro_columns``  the decoded columns of features and predictions
- ``event_columns`` the decoded columns of raw events and labels
- ``topics``      which topics of a pipeline are archived, and with which columns
- ``batch``       the records of one partition that will be written together
- ``writing``     writes a batch: its files, then its commit record
- ``placing``     where a partition goes on, by the archive and by what Kafka still has; pure
- ``service``     consumes topics and writes batches
- ``archive_metrics``  its metrics
- ``reading``     reads archived records and columns
- ``checking``    finds what is wrong with an archive, and removes what no commit record names
- ``compaction``  merges the small files of hours that are over

The commit records alone say what is archived; Kafka's committed offsets only show the lag. The command line is in
:mod:`penstock.commands.archive`.
"""
