# An app's jobs: what they have done stands in a list that no namespace changes.
require "sidekiq"

Sidekiq.configure_server { |config| config.options[:poll_interval_average] = 1 }

class Good
  include Sidekiq::Worker
  sidekiq_options retry: 2

  def perform(number)
    Sidekiq.redis { |redis| redis.rpush("done", "#{ENV.fetch("VERSION")} #{number}") }
  end
end

# Fails on the new version only, unless somebody has mended it.
class Picky
  include Sidekiq::Worker
  sidekiq_options retry: false

  def perform(_number)
    raise "cannot do this" if ENV.fetch("VERSION") == "1.1.0" && !ENV.key?("MENDED")
  end
end
