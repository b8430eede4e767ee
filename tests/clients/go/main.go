// The Go clients of the tests: --lib franz-go, sarama or kafka-go. Command line and output: tests/clients/README.md.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// client is what each library can do.
type client interface {
	produce(ctx context.Context) (int64, error)
	consume(ctx context.Context) (int64, error)
	view(ctx context.Context) (map[string]any, error)
	act(ctx context.Context, action string) error
}

var (
	start   = time.Now()
	options = map[string]string{}
	failed  atomic.Int64
	output  = bufio.NewWriter(os.Stdout)
	printer sync.Mutex
)

func main() {
	words := os.Args[1:]
	command, action := "", ""
	if len(words) > 0 {
		command = words[0]
	}
	for at := 1; at < len(words); at++ {
		name, isOption := strings.CutPrefix(words[at], "--")
		switch {
		case !isOption:
			action = name
		case at+1 < len(words) && !strings.HasPrefix(words[at+1], "--"):
			at++
			options[name] = words[at]
		default:
			options[name] = "yes"
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := do(ctx, command, action); err != nil {
		fail(err)
	}
	if failed.Load() != 0 {
		os.Exit(1)
	}
}

func do(ctx context.Context, command, action string) error {
	libs := map[string]client{"franz-go": franz{}, "sarama": saramaLib{}, "kafka-go": kafkaGo{}}
	lib := libs[option("lib", "franz-go")]
	if lib == nil {
		return fmt.Errorf("unknown lib: %s", option("lib", ""))
	}
	switch command {
	case "produce":
		count, err := lib.produce(ctx)
		if err != nil {
			fail(err)
		}
		done(count)
	case "consume":
		limited, cancel := context.WithTimeout(ctx, time.Duration(number("timeout", 60))*time.Second)
		defer cancel()
		count, err := lib.consume(limited)
		if err != nil {
			fail(err)
		}
		if wanted := number("count", 0); count < wanted && ctx.Err() == nil {
			fail(fmt.Errorf("timed out with %d of %d records", count, wanted))
		}
		done(count)
	case "metadata":
		line, err := lib.view(ctx)
		if err != nil {
			return err
		}
		line["event"] = "metadata"
		show(line)
	case "admin":
		return lib.act(ctx, action)
	default:
		return fmt.Errorf("unknown command: %s", command)
	}
	return nil
}

// viewAs answers the admin actions that are parts of the metadata.
func viewAs(ctx context.Context, lib client, action string) error {
	event := map[string]string{"describe-cluster": "cluster", "describe-topics": "topics"}[action]
	if event == "" {
		return fmt.Errorf("unknown action: %s", action)
	}
	line, err := lib.view(ctx)
	if err != nil {
		return err
	}
	line["event"] = event
	show(line)
	return nil
}

func show(line map[string]any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	printer.Lock()
	defer printer.Unlock()
	output.Write(text)
	output.WriteByte('\n')
	output.Flush()
}

func fail(err error) {
	failed.Add(1)
	show(map[string]any{"error": err.Error()})
}

func done(count int64) {
	show(map[string]any{"event": "done", "count": count, "errors": failed.Load(), "ms": time.Since(start).Milliseconds()})
}

func acked(seq int64, partition int32, offset int64) {
	show(map[string]any{"event": "acked", "seq": seq, "partition": partition, "offset": offset})
}

func record(value []byte, partition int32, offset int64) {
	parts := strings.Split(string(value), "|")
	if len(parts) < 3 {
		fail(fmt.Errorf("not a record of ours: %q", value))
		return
	}
	producer := strings.Join(parts[:len(parts)-2], "|")
	seq, _ := strconv.ParseInt(parts[len(parts)-2], 10, 64)
	show(map[string]any{"event": "record", "producer": producer, "seq": seq, "partition": partition, "offset": offset})
}

// moved tells of partitions that were assigned or revoked.
func moved(event string, topics map[string][]int32) {
	names := []string{}
	for topic, partitions := range topics {
		for _, partition := range partitions {
			names = append(names, fmt.Sprintf("%s-%d", topic, partition))
		}
	}
	show(map[string]any{"event": event, "partitions": names})
}

func broker(id int32, host string, port int, rack *string) map[string]any {
	return map[string]any{"id": id, "host": host, "port": port, "rack": rack}
}

func topicView(name string, partitions []map[string]any) map[string]any {
	return map[string]any{"name": name, "partitions": partitions}
}

func partitionView(id, leader int32, replicas []int32) map[string]any {
	return map[string]any{"id": id, "leader": leader, "replicas": replicas}
}

func option(name, otherwise string) string {
	if given, ok := options[name]; ok {
		return given
	}
	return otherwise
}

func has(name string) bool {
	_, ok := options[name]
	return ok
}

func number(name string, otherwise int64) int64 {
	given, err := strconv.ParseInt(option(name, ""), 10, 64)
	if err != nil {
		return otherwise
	}
	return given
}

func topic() string      { return option("topic", "") }
func group() string      { return option("group", "test") }
func clientID() string   { return option("client-id", "go") }
func count() int64       { return number("count", math.MaxInt64) }
func batch() int64       { return number("batch", 100) }
func seeds() []string    { return strings.Split(option("bootstrap", ""), ",") }
func key(n int64) []byte { return fmt.Appendf(nil, "k%d", n%16) }

func metadataAge() time.Duration {
	return time.Duration(number("metadata-age", 300_000)) * time.Millisecond
}

func value(n int64) []byte {
	text := fmt.Sprintf("%s|%d|", clientID(), n)
	return []byte(text + strings.Repeat("x", max(0, int(number("size", 100))-len(text))))
}

// pace waits until the n-th record is due; false when the program shall stop.
func pace(ctx context.Context, n int64) bool {
	if rate, err := strconv.ParseFloat(option("rate", "0"), 64); err == nil && rate > 0 {
		due := start.Add(time.Duration(float64(n) / rate * float64(time.Second)))
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(due)):
		}
	}
	return ctx.Err() == nil
}

// tlsConfig trusts the given authority; nil without --tls-ca.
func tlsConfig() (*tls.Config, error) {
	if !has("tls-ca") {
		return nil, nil
	}
	pem, err := os.ReadFile(option("tls-ca", ""))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", option("tls-ca", ""))
	}
	return &tls.Config{RootCAs: pool}, nil
}
