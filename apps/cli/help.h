#pragma once
/// What --help prints in front of the flags.

#include <string_view>

namespace sentinel::apps {

inline constexpr std::string_view kHelp =
    R"(sentinel-cli: write to, read from and look after a Sentinel or Kafka broker.

  sentinel-cli produce -topic orders -message "order:12345"
  sentinel-cli consume -topic orders -from-beginning
  sentinel-cli topics list

Commands:
  produce   write records: one message, or a line a record from a file or standard input
  consume   print records: up to the end that stands now, or on and on with --follow
  topics    list, describe, create, grow, delete
  cluster   show the servers and whether all partitions are where they are to be; add a server,
            drain or remove one
  verify    check the data directory of a server that is stopped
  dump      print what stands in a log, table or manifest file

`sentinel-cli COMMAND --help` explains the flags of a command. Every long flag works with one dash
or two (-topic, --topic), with a space or = in front of its value. The broker is localhost:9092
unless --broker HOST:PORT says otherwise.

Other flags:
  --version   print the version
  --help      print this text

Exit codes: 0 done, 1 failed, 2 wrong command or flag, 3 cannot connect to the broker.
)";

inline constexpr std::string_view kProduceHelp =
    R"(sentinel-cli produce: write records to a topic.

  sentinel-cli produce -topic orders -message "order:12345"
  sentinel-cli produce -topic orders -message "order:12345" -count 100      values order:12345-0 ...
  sentinel-cli produce -topic orders -key alice -message hello -header source=web
  sentinel-cli produce -topic words -file /usr/share/dict/words -compression zstd
  printf 'k1:v1\nk2:v2\n' | sentinel-cli produce -topic pairs -key-separator :

Without -message, each line of the input is a record: all bytes up to the newline are kept, and the
last line needs none. A record counts as produced when the broker has it on disk; what is sent again
after a failure is stored once. Records with the same key go to the same partition; records without
a key are spread over all of them.

)";

inline constexpr std::string_view kConsumeHelp =
    R"(sentinel-cli consume: print the records of a topic.

  sentinel-cli consume -topic orders -partition 0 -from-beginning
  sentinel-cli consume -topic orders -offset 100 -partition 0 -max-messages 10
  sentinel-cli consume -topic orders -follow
  sentinel-cli consume -topic orders -o json | jq .value
  sentinel-cli consume -topic words -o value > words

Reading stops at the end that stood when it began, unless --follow is given. Records of one
partition come in their order.

Forms of output (-o):
  text    offset=0 | key=(null) | value=... ; control characters as \n, \t or \xNN
  json    an object a line: topic, partition, offset, timestamp, key, value, headers; what is no
          UTF-8 stands as key_base64 and value_base64 instead
  value   the value's bytes as they are, and a newline

)";

inline constexpr std::string_view kTopicsHelp =
    R"(sentinel-cli topics: look after the topics of a broker.

  sentinel-cli topics list
  sentinel-cli topics describe orders
  sentinel-cli topics create orders -partitions 3 -config retention.ms=86400000
  sentinel-cli topics grow orders -partitions 6     keys go to other partitions from then on
  sentinel-cli topics delete orders                 deletes its records, at once

)";

inline constexpr std::string_view kClusterHelp =
    R"(sentinel-cli cluster: look after the servers of a cluster.

  sentinel-cli cluster status
  sentinel-cli cluster status -broker other:9092 -o json | jq .healthy
  sentinel-cli cluster add 4       gives server 4, which has been started, its share of partitions
  sentinel-cli cluster drain 2     moves all partitions from server 2 to the others
  sentinel-cli cluster remove 2    forgets server 2, which is drained and stopped, for good

Exit code 0 of status means that all servers are there, and all partitions have a leader and all
their replicas. add and drain wait until everything has moved; it goes on by itself when they are
interrupted. Nothing is lost meanwhile, and clients go on.

)";

inline constexpr std::string_view kVerifyHelp =
    R"(sentinel-cli verify: check the data directory of a server that is stopped.

  sentinel-cli verify -data ./data

Reads every file and changes none: each checksum down to those of the record batches, the order of
entries, the indexes, and that the files are those which the manifests name. Says what is damaged
and where. Exit code 0 means that nothing is.

)";

inline constexpr std::string_view kDumpHelp =
    R"(sentinel-cli dump: print what stands in files of a data directory, a line an item.

  sentinel-cli dump data/store-0/manifest-*.log
  sentinel-cli dump data/store-0/table-00000007.sst data/store-0/wal-00000009.log | less

Keys are printed with what they mean, of values only the length. Reading stops at damage, which is
named. The server may run, but then what is being written may look torn.

)";

}  // namespace sentinel::apps
