#!/bin/sh
# Makes the topics and registers the event schema, as soon as Kafka and the registry answer.
set -eu
export COLUMNS=160 # the tables' width in the log

patiently() {
  tries=30
  until "$@"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || exit 1
    sleep 1
  done
}

patiently sprintly-services topics create --partitions 12
patiently sprintly-services schemas register
