// etcd_load: a closed loop of puts against an etcd cluster, the counterpart of sentinel-load for scripts/perf.sh cluster.
//
// Each client has a connection of its own and one put on its way at a time; every put has a key of its own. What ended
// within the measured span is counted, after a warm-up. Prints one JSON object; any put that fails ends the program.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

const (
	dialTimeout = 10 * time.Second
	putTimeout  = 30 * time.Second
)

type latencies struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99.9"`
	Max  float64 `json:"max"`
}

type report struct {
	Clients      int       `json:"clients"`
	ValueBytes   int       `json:"value_bytes"`
	Seconds      float64   `json:"seconds"`
	Puts         int       `json:"puts"`
	OpsPerSecond float64   `json:"ops_per_second"`
	LatencyUs    latencies `json:"latency_us"`
}

func stop(what string, err error) {
	fmt.Fprintf(os.Stderr, "etcd_load: %s: %v\n", what, err)
	os.Exit(1)
}

func connect(endpoint string) *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{endpoint},
		DialTimeout: dialTimeout,
		DialOptions: []grpc.DialOption{grpc.WithBlock()},
	})
	if err != nil {
		stop(endpoint, err)
	}
	return client
}

// leaderOf returns the endpoint whose node leads, which saves a put the way from a follower to the leader.
func leaderOf(endpoints []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), putTimeout)
	defer cancel()
	for _, endpoint := range endpoints {
		client := connect(endpoint)
		status, err := client.Status(ctx, endpoint)
		client.Close()
		if err != nil {
			return "", err
		}
		if status.Leader != 0 && status.Leader == status.Header.MemberId {
			return endpoint, nil
		}
	}
	return "", fmt.Errorf("none of %s leads", strings.Join(endpoints, ", "))
}

func letters(count int, random *rand.Rand) string {
	text := make([]byte, count)
	for i := range text {
		text[i] = byte('a' + random.Intn(26))
	}
	return string(text)
}

// loop puts until `end` and returns how long each put took, in nanoseconds, that ended at `begin` or later.
func loop(client *clientv3.Client, prefix, value string, begin, end time.Time) []int64 {
	took := make([]int64, 0, 1<<16)
	for i := 0; ; i++ {
		before := time.Now()
		if !before.Before(end) {
			return took
		}
		ctx, cancel := context.WithTimeout(context.Background(), putTimeout)
		_, err := client.Put(ctx, fmt.Sprintf("%s-%010d", prefix, i), value)
		cancel()
		if err != nil {
			stop("put", err)
		}
		if after := time.Now(); !after.Before(begin) && !after.After(end) {
			took = append(took, after.Sub(before).Nanoseconds())
		}
	}
}

func quantile(sorted []int64, q float64) float64 {
	at := int(q * float64(len(sorted)))
	if at >= len(sorted) {
		at = len(sorted) - 1
	}
	return float64(sorted[at]) / 1e3
}

func main() {
	endpointList := flag.String("endpoints", "127.0.0.1:2379", "client addresses of the cluster, separated by commas")
	clients := flag.Int("clients", 1, "connections, each with one put on its way at a time")
	to := flag.String("to", "leader", "leader: all clients talk to the leader; all: they are spread over the endpoints")
	seconds := flag.Float64("seconds", 10, "length of the measured span")
	warmup := flag.Float64("warmup", 1, "seconds of load before it")
	valueBytes := flag.Int("value-bytes", 1024, "bytes of a value")
	prefix := flag.String("prefix", "key", "what keys begin with; they are overwritten if they exist")
	flag.Parse()
	if flag.NArg() > 0 || *clients < 1 || *seconds <= 0 || *warmup < 0 || *valueBytes < 0 ||
		(*to != "leader" && *to != "all") {
		fmt.Fprintln(os.Stderr, "etcd_load: wrong flags")
		flag.Usage()
		os.Exit(2)
	}

	endpoints := strings.Split(*endpointList, ",")
	if *to == "leader" {
		leader, err := leaderOf(endpoints)
		if err != nil {
			stop("leader", err)
		}
		endpoints = []string{leader}
	}
	connections := make([]*clientv3.Client, *clients)
	for i := range connections {
		connections[i] = connect(endpoints[i%len(endpoints)])
	}

	value := letters(*valueBytes, rand.New(rand.NewSource(1)))
	begin := time.Now().Add(time.Duration(*warmup * float64(time.Second)))
	end := begin.Add(time.Duration(*seconds * float64(time.Second)))
	took := make([][]int64, *clients)
	var group sync.WaitGroup
	for i, connection := range connections {
		group.Add(1)
		go func(i int, connection *clientv3.Client) {
			defer group.Done()
			took[i] = loop(connection, fmt.Sprintf("%s-%04d", *prefix, i), value, begin, end)
		}(i, connection)
	}
	group.Wait()
	for _, connection := range connections {
		connection.Close()
	}

	var all []int64
	for _, part := range took {
		all = append(all, part...)
	}
	if len(all) == 0 {
		stop("puts", fmt.Errorf("none ended within %g s", *seconds))
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	json.NewEncoder(os.Stdout).Encode(report{
		Clients:      *clients,
		ValueBytes:   *valueBytes,
		Seconds:      *seconds,
		Puts:         len(all),
		OpsPerSecond: float64(len(all)) / *seconds,
		LatencyUs: latencies{quantile(all, 0.5), quantile(all, 0.9), quantile(all, 0.99), quantile(all, 0.999),
			float64(all[len(all)-1]) / 1e3},
	})
}
