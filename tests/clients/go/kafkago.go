package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// kafkaGo is segmentio's kafka-go.
type kafkaGo struct{}

func (kafkaGo) login() (sasl.Mechanism, error) {
	user, password := option("user", ""), option("password", "")
	switch option("sasl", "") {
	case "plain":
		return plain.Mechanism{Username: user, Password: password}, nil
	case "scram":
		return scram.Mechanism(scram.SHA256, user, password)
	}
	return nil, nil
}

func (lib kafkaGo) transport() (*kafka.Transport, error) {
	trusted, err := tlsConfig()
	if err != nil {
		return nil, err
	}
	login, err := lib.login()
	if err != nil {
		return nil, err
	}
	return &kafka.Transport{ClientID: clientID(), TLS: trusted, SASL: login, MetadataTTL: min(metadataAge(), 6*time.Second)}, nil
}

func (lib kafkaGo) client() (*kafka.Client, error) {
	transport, err := lib.transport()
	return &kafka.Client{Addr: kafka.TCP(seeds()...), Transport: transport}, err
}

func (lib kafkaGo) produce(ctx context.Context) (int64, error) {
	if has("idempotent") || has("transactional") {
		return 0, errors.New("kafka-go has no idempotent and no transactional producer")
	}
	transport, err := lib.transport()
	if err != nil {
		return 0, err
	}
	var good atomic.Int64
	var waiting sync.WaitGroup
	writer := &kafka.Writer{
		Addr: kafka.TCP(seeds()...), Topic: topic(), Transport: transport, Balancer: &kafka.Hash{},
		BatchTimeout: 5 * time.Millisecond, Async: true, WriteTimeout: time.Duration(number("timeout", 60)) * time.Second,
		RequiredAcks: map[string]kafka.RequiredAcks{"0": 0, "1": 1, "all": -1}[option("acks", "all")],
		Completion: func(messages []kafka.Message, err error) {
			for _, message := range messages {
				if err != nil {
					fail(err)
				} else {
					good.Add(1)
					acked(message.WriterData.(int64), int32(message.Partition), message.Offset)
				}
				waiting.Done()
			}
		},
	}
	for n := int64(0); n < count() && pace(ctx, n); n++ {
		waiting.Add(1)
		message := kafka.Message{Key: key(n), Value: value(n), WriterData: n}
		if err := writer.WriteMessages(context.Background(), message); err != nil {
			return good.Load(), err
		}
	}
	err = writer.Close()
	waiting.Wait()
	return good.Load(), err
}

func (lib kafkaGo) consume(ctx context.Context) (int64, error) {
	trusted, err := tlsConfig()
	if err != nil {
		return 0, err
	}
	login, err := lib.login()
	if err != nil {
		return 0, err
	}
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: seeds(), GroupID: group(), Topic: topic(), StartOffset: kafka.FirstOffset,
		CommitInterval: 500 * time.Millisecond, MaxWait: 200 * time.Millisecond, IsolationLevel: kafka.ReadCommitted,
		WatchPartitionChanges: true,
		Dialer:                &kafka.Dialer{ClientID: clientID(), TLS: trusted, SASLMechanism: login, Timeout: 10 * time.Second},
	})
	seen := int64(0)
	for seen < count() {
		message, err := reader.ReadMessage(ctx)
		if err != nil {
			if ctx.Err() == nil {
				fail(err)
			}
			break
		}
		record(message.Value, int32(message.Partition), message.Offset)
		seen++
	}
	return seen, reader.Close()
}

func (lib kafkaGo) view(ctx context.Context) (map[string]any, error) {
	client, err := lib.client()
	if err != nil {
		return nil, err
	}
	asked := &kafka.MetadataRequest{}
	if has("topic") {
		asked.Topics = []string{topic()}
	}
	found, err := client.Metadata(ctx, asked)
	if err != nil {
		return nil, err
	}
	brokers, topics := []any{}, []any{}
	for _, one := range found.Brokers {
		brokers = append(brokers, broker(int32(one.ID), one.Host, one.Port, &one.Rack))
	}
	for _, one := range found.Topics {
		if one.Error != nil {
			return nil, fmt.Errorf("%s: %w", one.Name, one.Error)
		}
		partitions := []map[string]any{}
		for _, p := range one.Partitions {
			replicas := []int32{}
			for _, replica := range p.Replicas {
				replicas = append(replicas, int32(replica.ID))
			}
			partitions = append(partitions, partitionView(int32(p.ID), int32(p.Leader.ID), replicas))
		}
		topics = append(topics, topicView(one.Name, partitions))
	}
	return map[string]any{"cluster_id": found.ClusterID, "controller": found.Controller.ID, "brokers": brokers, "topics": topics}, nil
}

func (lib kafkaGo) act(ctx context.Context, action string) error {
	client, err := lib.client()
	if err != nil {
		return err
	}
	switch action {
	case "create-topic":
		config := kafka.TopicConfig{Topic: topic(), NumPartitions: int(number("partitions", 3)), ReplicationFactor: 1}
		made, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
		if err != nil {
			return err
		}
		if err := made.Errors[topic()]; err != nil {
			return err
		}
		show(map[string]any{"event": "created", "topic": topic()})
		return nil
	case "list-groups":
		found, err := client.ListGroups(ctx, &kafka.ListGroupsRequest{})
		if err != nil {
			return err
		}
		names := []string{}
		for _, one := range found.Groups {
			names = append(names, one.GroupID)
		}
		show(map[string]any{"event": "groups", "groups": names})
		return nil
	default:
		return viewAs(ctx, lib, action)
	}
}
