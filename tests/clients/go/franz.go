package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// franz is franz-go.
type franz struct{}

func (franz) open(more ...kgo.Opt) (*kgo.Client, error) {
	given := []kgo.Opt{
		kgo.SeedBrokers(seeds()...), kgo.ClientID(clientID()),
		kgo.MetadataMaxAge(metadataAge()), kgo.MetadataMinAge(min(metadataAge(), 2500*time.Millisecond)),
	}
	config, err := tlsConfig()
	if err != nil {
		return nil, err
	}
	if config != nil {
		given = append(given, kgo.DialTLSConfig(config))
	}
	user, password := option("user", ""), option("password", "")
	switch option("sasl", "") {
	case "plain":
		given = append(given, kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism()))
	case "oauthbearer":
		given = append(given, kgo.SASL(oauth.Auth{Token: token(user)}.AsMechanism()))
	case "scram":
		given = append(given, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism()))
	}
	return kgo.NewClient(append(given, more...)...)
}

func (lib franz) produce(ctx context.Context) (int64, error) {
	given := []kgo.Opt{
		kgo.ProducerLinger(5 * time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()), // as the others
		kgo.RecordDeliveryTimeout(time.Duration(number("timeout", 60)) * time.Second),
	}
	transaction := option("transactional", "")
	if transaction != "" {
		given = append(given, kgo.TransactionalID(transaction))
	} else if !has("idempotent") {
		given = append(given, kgo.DisableIdempotentWrite())
		switch option("acks", "all") {
		case "0":
			given = append(given, kgo.RequiredAcks(kgo.NoAck()))
		case "1":
			given = append(given, kgo.RequiredAcks(kgo.LeaderAck()))
		}
	}
	client, err := lib.open(given...)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	var good atomic.Int64
	finish := context.Background() // what was begun is finished after SIGTERM too
	for n := int64(0); n < count() && pace(ctx, n); n++ {
		if transaction != "" && n%batch() == 0 {
			if n > 0 {
				if err := commit(finish, client); err != nil {
					return good.Load(), err
				}
			}
			if err := client.BeginTransaction(); err != nil {
				return good.Load(), err
			}
		}
		client.Produce(finish, &kgo.Record{Topic: topic(), Key: key(n), Value: value(n)}, func(r *kgo.Record, err error) {
			if err != nil {
				fail(err)
				return
			}
			good.Add(1)
			acked(n, r.Partition, r.Offset)
		})
	}
	if err := client.Flush(finish); err != nil {
		return good.Load(), err
	}
	if transaction != "" {
		err = commit(finish, client)
	}
	return good.Load(), err
}

// token is an unsecured JWS (RFC 7515, appendix A.5), which Kafka's own test mechanism believes.
func token(user string) string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	now := time.Now().Unix()
	claims := fmt.Sprintf(`{"sub":%q,"iat":%d,"exp":%d}`, user, now, now+3600)
	return part(`{"alg":"none"}`) + "." + part(claims) + "."
}

func commit(ctx context.Context, client *kgo.Client) error {
	if err := client.Flush(ctx); err != nil {
		return err
	}
	return client.EndTransaction(ctx, kgo.TryCommit)
}

func (lib franz) consume(ctx context.Context) (int64, error) {
	if option("protocol", "classic") == "consumer" {
		ctx = context.WithValue(ctx, "opt_in_kafka_next_gen_balancer_beta", true)
	}
	given := []kgo.Opt{
		kgo.WithContext(ctx),
		kgo.ConsumerGroup(group()), kgo.ConsumeTopics(topic()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, t map[string][]int32) { moved("assigned", t) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, t map[string][]int32) { moved("revoked", t) }),
		kgo.AutoCommitInterval(500 * time.Millisecond),
	}
	if has("rack") {
		given = append(given, kgo.Rack(option("rack", "")))
	}
	client, err := lib.open(given...)
	if err != nil {
		return 0, err
	}
	defer client.CloseAllowingRebalance()
	seen := int64(0)
	for seen < count() && ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		for _, failed := range fetches.Errors() {
			if ctx.Err() == nil {
				fail(fmt.Errorf("%s-%d: %w", failed.Topic, failed.Partition, failed.Err))
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			record(r.Value, r.Partition, r.Offset)
			seen++
		})
	}
	return seen, nil
}

func (lib franz) view(ctx context.Context) (map[string]any, error) {
	client, err := lib.open()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	names := []string{}
	if has("topic") {
		names = append(names, topic())
	}
	found, err := kadm.NewClient(client).Metadata(ctx, names...)
	if err != nil {
		return nil, err
	}
	brokers, topics := []any{}, []any{}
	for _, one := range found.Brokers {
		brokers = append(brokers, broker(one.NodeID, one.Host, int(one.Port), one.Rack))
	}
	for _, one := range found.Topics.Sorted() {
		partitions := []map[string]any{}
		for _, p := range one.Partitions.Sorted() {
			partitions = append(partitions, partitionView(p.Partition, p.Leader, p.Replicas))
		}
		topics = append(topics, topicView(one.Topic, partitions))
	}
	return map[string]any{"cluster_id": found.Cluster, "controller": found.Controller, "brokers": brokers, "topics": topics}, nil
}

func (lib franz) act(ctx context.Context, action string) error {
	client, err := lib.open()
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	switch action {
	case "create-topic":
		made, err := admin.CreateTopic(ctx, int32(number("partitions", 3)), 1, nil, topic())
		if err != nil {
			return err
		}
		if made.Err != nil {
			return kerr.TypedErrorForCode(made.Err.(*kerr.Error).Code)
		}
		show(map[string]any{"event": "created", "topic": topic()})
		return nil
	case "list-groups":
		groups, err := admin.ListGroups(ctx)
		if err != nil {
			return err
		}
		show(map[string]any{"event": "groups", "groups": groups.Groups()})
		return nil
	default:
		return viewAs(ctx, lib, action)
	}
}
